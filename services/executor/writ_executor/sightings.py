"""The moment when this replica first saw each operation in its present phase. The age of the phase counts from it."""

from collections.abc import Iterable

from msgspec import Struct

from writ_contracts.life import AcceptedLife, State
from writ_executor.steps.overdue import WaitingAge


class Sighting(Struct, frozen=True):
    """The sighting of a phase: its event's id, the boot clock then, and the event's age by the journal's clock."""

    event: str
    boot: float
    before: float


class Sightings:
    """Sightings by operation id. Clocks come in as instants: `boot` of this host, `server` of the journal.

    The journal's clock is read once a phase, at the first sighting: a later step of the server's clock moves no running
    deadline.
    """

    def __init__(self) -> None:
        self._by_operation: dict[str, Sighting] = {}

    def age(self, life: AcceptedLife, boot: float, server: float) -> WaitingAge:
        """Return how old the operation's present phase is. The first call for a phase begins to count."""
        operation_id, event = life.requested.operation_id, life.period_start.id
        known = self._by_operation.get(operation_id)
        if known is None or known.event != event:
            known = self._by_operation[operation_id] = Sighting(event, boot, _before(life, server))
        return WaitingAge(observed=max(boot - known.boot, 0.0), before=known.before)

    def forget_others(self, operation_ids: Iterable[str]) -> None:
        """Forget all other operations."""
        kept = set(operation_ids)
        if len(kept) < len(self._by_operation):
            self._by_operation = {key: sighting for key, sighting in self._by_operation.items() if key in kept}


def phase_stored(life: AcceptedLife) -> float:
    """Return when the beginning of its present phase was stored: the first event for one waiting since its request,
    else the latest. 0 where that is unknown.
    """
    waiting = (State.REQUESTED, State.AWAITING_APPROVAL)
    return life.first_time if life.state in waiting else life.time


def _before(life: AcceptedLife, server: float) -> float:
    """Return the age of the phase at its first sighting."""
    stored = phase_stored(life)
    return max(server - stored, 0.0) if stored else 0.0
