"""Events to the people who may approve: an operation waits for them, or does not any more."""

from writ_bus.port import Bus
from writ_contracts.errors import WritError
from writ_contracts.journal import AwaitingApproval
from writ_contracts.people.approvals import ApprovalEvent, approvers_of
from writ_contracts.subjects import approval_event
from writ_contracts.wire import encode
from writ_runtime.logs import Log

_log = Log("writ.executor")


class ApproverEvents:
    """Sends events of pending operations to their approvers. A failure here changes nothing: approvers can list pending
    operations themselves.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def send(self, waiting: AwaitingApproval, kind: str, reason: str = "") -> None:
        """Send an event of this kind to each person named in the demands."""
        event = ApprovalEvent(
            kind=kind,
            operation_id=waiting.operation_id,
            principal=waiting.principal,
            operation=waiting.operation,
            target=waiting.target,
            until=waiting.until,
            reason=reason,
        )
        for who in approvers_of(waiting.demands):
            try:
                await self._bus.publish(approval_event(who), encode(event))
            except WritError as error:
                _log.warning("approval.not_announced", principal=who, error=str(error))
                return
