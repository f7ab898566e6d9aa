"""Approval windows: approvals in advance, for a number of operations on targets within a time."""

from collections.abc import Sequence

from writ_client.operations.operation_wait import RecordedRequest
from writ_client.operations.runs_operations import RunsOperations
from writ_contracts.ids import WRIT_TARGET

ENDED_WITHIN = 60.0


class ApprovalWindows:
    """`writ.windows`: requests and ends of windows; `policy_status` lists the open ones."""

    def __init__(self, writ: RunsOperations) -> None:
        self._writ = writ

    async def request(
        self, operations: Sequence[str], targets: Sequence[str], *, uses: int, seconds: int, reason: str
    ) -> RecordedRequest:
        """Request a window. It waits for people's approval, and is open from then on for `seconds`.

        The window gets the id of this operation. Within it, `uses` of the operations on the targets need no approval of
        their own, as far as its approvers would do for them; each is decided and recorded, and its decision names the
        window.
        """
        scope = {"operations": list(operations), "targets": list(targets), "uses": uses, "seconds": seconds}
        parameters = {**scope, "reason": reason}
        return await self._writ.request("window_request", WRIT_TARGET, parameters, reason=reason, wait=ENDED_WITHIN)

    async def end(self, window_id: str, *, reason: str = "") -> RecordedRequest:
        """End a window before its time; its requester and its approvers always may."""
        parameters = {"window_id": window_id}
        return await self._writ.request("window_end", WRIT_TARGET, parameters, reason=reason, wait=ENDED_WITHIN)
