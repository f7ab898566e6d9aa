"""The client of all tools: operations on targets, cancels, requests and ends of windows, and nothing else.

It enforces "no tool approves": a tool has no other way to send a request.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from writ_bus.port import Bus
from writ_client.client import Writ
from writ_client.people.approvals import Approvals
from writ_contracts import requests
from writ_contracts.errors import Denied, Invalid, WritError
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.nearest_name import near
from writ_contracts.operations import Catalogue
from writ_contracts.policy.facts import ScanReport
from writ_gateway.caller import Caller
from writ_gateway.nats_silence import while_nats_replies
from writ_trust.keys import Key

CANCEL = "operation_cancel"
WINDOW_REQUEST, WINDOW_END = "window_request", "window_end"
WINDOWS = (WINDOW_REQUEST, WINDOW_END)
"""People open a window; its requester may end it. Both need the principal's own signature: over HTTP there is none."""
SUGGESTION_SECONDS = 2.0
"""For a list of targets before a request: a call has 50 seconds, of which the request and its wait may use 45."""


def unknown_operation(name: str, catalogue: Catalogue) -> Invalid:
    """Return the error about an operation that a tool cannot find."""
    names = [one.name for one in catalogue.values() if not one.control]
    hint = near(name, names) or "; search_operations lists them"
    return Invalid(f"operation_type: there is no operation {name[:64]!r}{hint}", code="unknown_operation")


class AgentClient(Writ):
    """`Writ` for one caller, limited to tools' operations.

    `caller`: the program and the token behind a request. `read_only`: request read-only operations and dry runs alone.
    `public_only`: read only outputs of the class public; file contents and containers' environments are not.
    """

    def __init__(
        self,
        bus: Bus,
        key: Key | None,
        principal: str,
        *,
        catalogue: Catalogue,
        caller: Caller | None = None,
        read_only: bool = False,
        public_only: bool = False,
    ) -> None:
        super().__init__(bus, key, principal)
        self._caller = caller or Caller()
        installation = key.installation if key else ""
        self.approvals = Approvals(bus, None, principal, self._clock, installation)  # without a key it signs no verdict
        self._catalogue = catalogue
        self._read_only = read_only
        self._public_only = public_only

    def called_by(self, caller: Caller) -> "AgentClient":
        """Return the same client for one request of this caller; it shares the connection and the events."""
        one = AgentClient(
            self._bus,
            self._key,
            self.principal,
            catalogue=self._catalogue,
            caller=caller,
            read_only=self._read_only,
            public_only=self._public_only,
        )
        one._following = self._following
        return one

    @property
    def may_sign(self) -> bool:
        """True if requests are signed with the principal's own key."""
        return self._key is not None

    def while_nats_replies(self, *, effect: bool = False) -> AbstractAsyncContextManager[None]:
        """Cut a block of requests short once NATS is silent: see `nats_silence`."""
        return while_nats_replies(self._bus, effect=effect)

    async def cancel_soon(self, operation_id: str, reason: str) -> None:
        """Request a cancel, and do not wait for it. Raises as `submit`."""
        await self.submit(CANCEL, WRIT_TARGET, {"operation_id": operation_id}, reason=reason)

    async def unfollow(self) -> None:
        """Unsubscribe from events; the connection is another's."""
        await self._following.close()

    async def submit(
        self, operation: str, target: str, parameters: Mapping[str, Any] | None = None, **options: Any
    ) -> requests.RequestReply:
        """Send the request like `Writ.submit`. Raises Denied (`for_people`, `read_only`, `token_limit`) and Invalid
        (`unknown_operation`, `invalid_parameters`, `unknown_target`) before anything is sent.
        """
        self._check(operation, target, dry_run=options.get("dry_run", False))
        self._catalogue[operation].check(parameters or {})
        await self.refuse_misspelt(target)
        return await super().submit(operation, target, parameters, client=self._caller.client, **options)

    async def simulate(
        self, operation: str, target: str, parameters: Mapping[str, Any] | None = None, *, dry_run: bool = False
    ) -> requests.SimulateReply:
        """Return the decision like `Writ.simulate`. Raises Denied and Invalid (`unknown_operation`) as `submit`."""
        self._check(operation, target, dry_run=dry_run)
        return await super().simulate(operation, target, parameters, dry_run=dry_run)

    async def targets(self) -> list[requests.TargetView]:
        """Return the targets that the principal may list, as far as the caller's token is for them."""
        return [one for one in await super().targets() if self._caller.reaches(one.id)]

    async def lists_target(self, target: str) -> bool:
        """Return whether `targets` has this one."""
        return self._caller.reaches(target) and await super().lists_target(target)

    @property
    def target_globs(self) -> Sequence[str]:
        """The globs of targets that limit the caller's token."""
        return self._caller.targets

    def may_request(self, operation: str, target: str | None = None) -> bool:
        """Return whether the token's globs admit requests of the operation, on this target if one is given."""
        return self._caller.admits(operation, target)

    def check_token(self, operation: str, target: str) -> None:
        """Raise Denied (`token_limit`) for a request outside the token's globs."""
        if operation != CANCEL:
            self._caller.check(operation, target)

    def check_targets(self, *targets: str) -> None:
        """Raise Denied (`token_limit`) for a target outside the token's globs. Writ itself is no host to hide, and the
        target of each cancelling, which the token does not limit.
        """
        for target in targets:
            if target != WRIT_TARGET:
                self._caller.check_target(target)

    def _check(self, operation: str, target: str, *, dry_run: bool) -> None:
        definition = self._catalogue.get(operation)
        if definition is None:
            raise unknown_operation(operation, self._catalogue)
        if definition.control and operation != CANCEL and not (operation in WINDOWS and self.may_sign):
            raise Denied(f"{operation} is for people: it cannot be requested over MCP", code="for_people")
        if self._read_only and not definition.read_only and not dry_run:
            raise Denied(f"{operation} changes its target, and this server is read-only", code="read_only")
        self.check_token(operation, target)

    async def refuse_misspelt(self, *targets: str) -> None:
        """Raises Invalid (`unknown_target`) for a name like one that the caller may list, also if it is the name of a
        hidden target: that request is counted, and not recorded. Any other name is sent, and the request is on record.
        """
        try:
            async with asyncio.timeout(SUGGESTION_SECONDS):
                hints = {one: await self.similar_target(one) for one in targets if one != WRIT_TARGET}
        except (WritError, TimeoutError):  # such as `policy_silent`: the request itself fails with the reason
            return
        for target, hint in hints.items():
            if hint:
                text = f"target_id: there is no target {target!r} among those that you may list{hint}"
                raise Invalid(text, code="unknown_target")

    async def result(self, operation_id: str) -> dict[str, Any] | None:
        """Return the result like `Writ.result`; None where only public output may be shown, which the view has."""
        return None if self._public_only else await super().result(operation_id)

    async def report(self, report: ScanReport) -> str:
        """Refuse: scanners report by their own client."""
        raise Denied("findings cannot be reported over MCP", code="for_people")
