"""The control state after each control event on record, as policy follows them."""

from bisect import bisect_right
from collections.abc import Mapping
from operator import itemgetter
from typing import Protocol

from msgspec import structs

from writ_contracts import subjects
from writ_contracts.errors import Invalid
from writ_contracts.history.copied_control_events import CARRIED_FROM
from writ_contracts.history.records import Record
from writ_contracts.journal import ControlEvent
from writ_contracts.wire import decode
from writ_rules.engine.control import ControlState, apply
from writ_trust.control_events import DECIDED, is_decided, stored_late
from writ_trust.copied_control_events import in_order


class EventReader(Protocol):
    """Stored events, as the bus reads them."""

    async def read(self, filter: str, *, after: int = 0, limit: int | None = None) -> list[Record]: ...

    async def last(self, filter: str) -> Record | None: ...


class ControlStates:
    """Reads all control events again when there is a new one."""

    def __init__(self, journal: EventReader, keys: Mapping[str, int], installation: str) -> None:
        self._journal, self._keys, self._installation = journal, keys, installation
        self._last = 0
        self._states: list[tuple[int, float, ControlState]] = []
        """First sequence, time of storage (0 for a copy) and state after each event."""

    async def of(self, sequence: int) -> ControlState:
        """Return the state after that event. Raises Untrusted where copies are forged, and errors of the bus."""
        last = await self._journal.last(subjects.CONTROL)
        if last is not None and last.sequence > self._last:
            await self._read()
        at = bisect_right(self._states, sequence, key=itemgetter(0))
        return self._states[at - 1][2] if at else ControlState()

    async def _read(self) -> None:
        records = await self._journal.read(subjects.CONTROL)
        states, state, counted = list[tuple[int, float, ControlState]](), ControlState(), set[tuple[str, str]]()
        for first, record in in_order(records, self._is_decided).items():
            event = self._counting(first, record, counted)
            state = apply(state, first, event)
            states.append((first, 0.0 if CARRIED_FROM in record.headers else record.time, state))
        self._states, self._last = states, max((record.sequence for record in records), default=0)

    def missed(self, sequence: int, record: int, before: float) -> int:
        """Return the first event between `sequence` and the `record` that was stored before that time, or 0.

        Times alone do not tell what came first: the clock of NATS may have been set back.
        """
        return next((at for at, stored, _ in self._states if sequence < at < record and 0 < stored < before), 0)

    def _counting(self, first: int, record: Record, counted: set[tuple[str, str]]) -> ControlEvent | None:
        """Return the event as policy counts it: one that does not count gets another kind."""
        try:
            event = decode(record.data, ControlEvent)
        except Invalid:
            return None
        if event.kind not in DECIDED:
            return event
        again = (event.kind, event.operation_id) in counted
        if again or stored_late(event, record) or not self._is_decided(event, first):
            return structs.replace(event, kind="undecided")
        counted.add((event.kind, event.operation_id))
        return event

    def _is_decided(self, event: ControlEvent, sequence: int) -> bool:
        trusted = [key for key, last in self._keys.items() if sequence <= last]
        return is_decided(event, trusted, self._installation)
