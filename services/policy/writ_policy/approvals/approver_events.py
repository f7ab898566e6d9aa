"""Events for approvers, on subjects of their own."""

from collections.abc import Iterable

from writ_bus.port import Bus
from writ_contracts import subjects, wire
from writ_contracts.errors import WritError
from writ_contracts.people.approvals import ApprovalEvent
from writ_runtime.logs import Log

_log = Log("writ.policy")


async def announce(bus: Bus, people: Iterable[str], event: ApprovalEvent) -> None:
    """Send an event to these people. The verdict is recorded already, so a failure here is ignored."""
    for who in people:
        try:
            await bus.publish(subjects.approval_event(who), wire.encode(event))
        except WritError as error:
            _log.warning("approval.not_announced", principal=who, error=str(error))
            return
