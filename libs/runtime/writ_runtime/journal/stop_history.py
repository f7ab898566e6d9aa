"""The stops of the journal with their ends, lifted ones too: while one lasts, time to decide stands still."""

import asyncio
import time
from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Struct

from writ_bus.port import EventStore
from writ_contracts import subjects
from writ_contracts.errors import Invalid
from writ_contracts.history.records import Record
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.journal import ControlEvent
from writ_contracts.policy.stops import Reach, StopPeriod, overlap
from writ_contracts.wire import decode_event

CHECK_EVERY = 1.0


class _StopReach(Struct, frozen=True, kw_only=True):
    scope: list[str]
    roles: list[str] = []
    principals: list[str] = []
    operations: list[str] = []
    until: float | None = None


class StopHistory:
    """Stops with their ends, at most a second old."""

    def __init__(self, journal: EventStore) -> None:
        self._journal = journal
        self._sequence = -1
        self._checked = float("-inf")
        self._periods: Sequence[StopPeriod] = ()
        self._checking = asyncio.Lock()

    async def periods(self) -> Sequence[StopPeriod]:
        """Return all stops. Concurrent callers share one read. Raises errors of the bus."""
        async with self._checking:
            if time.monotonic() - self._checked >= CHECK_EVERY:
                await self._check()
            return self._periods

    async def _check(self) -> None:
        last = await self._journal.last(subjects.CONTROL)
        sequence = last.sequence if last else 0
        if sequence != self._sequence:
            self._periods = stop_periods(
                await self._journal.read(subjects.control_event("stop_set")),
                await self._journal.read(subjects.control_event("stop_lift")),
            )
            self._sequence = sequence
        self._checked = time.monotonic()


def stop_periods(begun: Iterable[Record], lifted: Iterable[Record]) -> list[StopPeriod]:
    """Return the stops of these records. An unreadable file stops nobody's clock."""
    ends = {str(event.body.get("stop_id")): event.at for event in _events(lifted)}
    return [one for event in _events(begun) if (one := _period(event, ends.get(event.id))) is not None]


def _events(records: Iterable[Record]) -> list[ControlEvent]:
    """Return each event once: those of an archived range are stored again."""
    found = dict[str, ControlEvent]()
    for record in records:
        try:
            event = decode_event(record.data)
        except Invalid:
            continue
        if isinstance(event, ControlEvent):
            found.setdefault(event.id, event)
    return list(found.values())


def _period(event: ControlEvent, lifted: float | None) -> StopPeriod | None:
    try:
        body = msgspec.convert(event.body, _StopReach)
    except msgspec.ValidationError:
        return None
    reach = Reach(
        targets=body.scope,
        roles=frozenset(body.roles),
        principals=frozenset(body.principals),
        operations=frozenset(body.operations),
    )
    ends = [end for end in (body.until, lifted) if end is not None]
    return StopPeriod(reach=reach, since=event.at, until=min(ends, default=None))


def frozen_seconds(
    periods: Iterable[StopPeriod],
    target: str,
    role: str | None,
    principals: Sequence[str],
    operation: str,
    *,
    since: float,
    now: float,
) -> float:
    """Return for how many seconds since `since` stops held up this operation; never one on Writ itself."""
    if target == WRIT_TARGET:
        return 0.0
    return overlap((one for one in periods if one.reach.covers(target, role, principals, operation)), since, now)
