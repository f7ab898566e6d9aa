"""The only way to write the journal: one event, one expected sequence, nothing after a failed append.

Each append says which event of the operation its writer had seen last; the server stores it only if that still is the
last one. The life that an append returns is the one to go on with.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, cast, get_args

from msgspec import structs

from writ_bus import tracing
from writ_bus.port import Entry, Journal
from writ_contracts import journal, subjects
from writ_contracts.agents import SecurityKind
from writ_contracts.copied_control_events import CARRIED_FROM
from writ_contracts.errors import Conflict, Invalid, WritError
from writ_contracts.life import Life, apply
from writ_contracts.records import Record
from writ_contracts.signing import Signed
from writ_contracts.wire import decode_event, encode
from writ_executor.journal.index import Index, Lock, limit_of
from writ_executor.metrics import Measures
from writ_runtime.logs import Log

ATTEMPTS = 8
Event = TypeVar("Event", bound=journal.OperationEvent)
_log = Log("writ.executor")
_KINDS = frozenset(get_args(SecurityKind))


class Recorder:
    """Appends events, and keeps the index a step ahead of the tail for what it wrote itself."""

    def __init__(self, stream: Journal, index: Index, measures: Measures, clock: Callable[[], float]) -> None:
        """`clock`: the journal server's time, which every event tells as its own."""
        self._journal = stream
        self._index = index
        self._measures = measures
        self.clock = clock

    def stamp(self, correlation_id: str = "") -> dict[str, Any]:
        """The fields that every event has, for an event that happens now."""
        return tracing.stamp(self.clock(), correlation_id)

    async def append(self, life: Life, event: journal.OperationEvent) -> Life:
        """Store the event as the next of this operation. Raises Conflict if it isn't, Full, Unreachable, TimedOut."""
        event = _detached(event)
        after = apply(life, event, life.sequence + 1)  # refuses what the table does not have, before anything is sent
        entry = self._entry(life, after, event)
        with self._measures.stage("record", _pool(after), event.operation_id), self._index.writing(event):
            sequence = await self._journal.append(entry)
            return self._remember(life, event, sequence)

    async def take_lock(self, requested: journal.Requested, lock: Lock | None) -> None:
        """Let this operation have its target, if nobody took it since `lock`. Raises as `append`."""
        line = subjects.target_lock(requested.target)
        sequence = await self._journal.append(self._taken(requested, line, lock))
        self._index.locks[line] = Lock(requested.operation_id, sequence)

    async def dispatch_with_locks(
        self, life: Life, event: journal.Dispatched, locks: Mapping[str, Lock | None]
    ) -> Life:
        """Store `dispatched` with all that it takes (its target, places under its limits), or none of it. `locks`: by
        line, who was let in last. Raises as `append`.
        """
        requested = life.requested
        assert requested is not None  # noqa: S101 - what was never accepted stands in no line
        after = apply(life, event, life.sequence + 1)
        taken = [self._taken(requested, line, lock) for line, lock in locks.items()]
        entries = [*taken, self._entry(life, after, event)]
        with self._measures.stage("record", requested.pool, requested.operation_id):
            sequence = await self._journal.append_together(entries)
        for line in locks:
            self._index.locks.pop(line, None)
        return self._remember(life, event, sequence)

    def _taken(self, requested: journal.Requested, line: str, lock: Lock | None) -> Entry:
        who = {
            **self.stamp(requested.correlation_id),
            "target": requested.target,
            "operation_id": requested.operation_id,
            "principal": requested.principal,
        }
        limit = limit_of(requested, line)
        event: journal.JournalEvent = journal.LockTaken(**who)
        if limit is not None:
            event = journal.LimitTaken(**who, rule=limit.rule, kind=limit.kind, most=limit.most)
        expected = lock.sequence if lock else 0
        return Entry(subject=line, data=_bytes(event), event_id=event.id, filter=line, expected=expected)

    def control_event(self, requested: journal.Requested, parameters_key: str) -> journal.ControlEvent:
        """What a control operation that was allowed leaves for all who decide by it: its own id is the event's."""
        return journal.ControlEvent(
            **{**self.stamp(requested.correlation_id), "id": requested.operation_id},
            kind=requested.operation,
            principal=requested.principal,
            operation_id=requested.operation_id,
            body={**requested.effective, "reason": requested.effective.get("reason") or requested.reason},
            decision=requested.decision,
            statement=requested.statement,
            parameters_key=parameters_key,
        )

    async def security(
        self,
        kind: SecurityKind,
        detail: str,
        *,
        operation_id: str | None = None,
        principal: str | None = None,
        pool: str | None = None,
        correlation_id: str = "",
        report: Signed | None = None,
    ) -> int:
        """Record something that should not happen, in the trace that it belongs to; its sequence."""
        event = journal.SecurityEvent(
            **self.stamp(correlation_id),
            kind=kind,
            detail=detail[:1000],
            operation_id=operation_id,
            principal=principal,
            pool=pool,
            report=report,
        )
        sequence = await self.append_last(subjects.security_event(kind), event)
        self._measures.alarmed(kind)
        of = {"operation_id": operation_id, "principal": principal, "pool": pool}
        named = {name: value for name, value in of.items() if value}
        _log.warning("security.recorded", kind=kind, sequence=sequence, detail=detail[:1000], **named)
        return sequence

    async def security_of(
        self, error: WritError, operation_id: str | None, principal: str | None, correlation_id: str = ""
    ) -> None:
        """Record an error that is a security event by its code; others are not."""
        if error.code in _KINDS:
            await self.security(
                cast(SecurityKind, error.code),
                str(error),
                operation_id=operation_id,
                principal=principal,
                correlation_id=correlation_id,
            )

    async def append_last(self, subject: str, event: journal.JournalEvent) -> int:
        """Store an event that depends on nothing before it; its subject is its own filter. Returns its sequence."""
        for _ in range(ATTEMPTS):
            last = await self._journal.last(subject)
            try:
                return await self.append_after(last.sequence if last else 0, subject, event)
            except Conflict:
                continue
        raise Conflict(f"{ATTEMPTS} others wrote {subject} first")

    async def append_once(self, subject: str, event: journal.JournalEvent, *, after: int) -> int:
        """As `append_last`, unless this event (by its id) is there already, behind `after`: then its sequence."""
        for _ in range(ATTEMPTS):
            last = await self._journal.last(subject)
            there = await self._journal.read(subject, after=after)
            if found := [record.sequence for record in there if decode_event(record.data).id == event.id]:
                return found[0]
            try:
                return await self.append_after(last.sequence if last else 0, subject, event)
            except Conflict:
                continue
        raise Conflict(f"{ATTEMPTS} others wrote {subject} first")

    async def append_again(self, record: Record, origin: int, event_id: str) -> None:
        """Store a control event once more, byte for byte: it was at `origin` first."""
        for _ in range(ATTEMPTS):
            last = await self._journal.last(record.subject)
            try:
                await self._journal.append(
                    Entry(
                        subject=record.subject,
                        data=record.data,
                        event_id=event_id,
                        filter=record.subject,
                        expected=last.sequence if last else 0,
                        headers={CARRIED_FROM: str(origin)},
                    )
                )
            except Conflict:
                continue
            return
        raise Conflict(f"{ATTEMPTS} others wrote {record.subject} first")

    async def append_each(self, events: Sequence[tuple[Life, journal.Archived]]) -> None:
        """Store what stays of these operations, of all or of none. Raises as `append`."""
        entries = [self._entry(life, apply(life, event, life.sequence + 1), event) for life, event in events]
        await self._journal.append_together(entries)

    async def append_after(self, expected: int, subject: str, event: journal.JournalEvent) -> int:
        """Store an event whose subject is its own filter and stands at `expected`. Raises as `append`."""
        entry = Entry(subject=subject, data=_bytes(event), event_id=event.id, filter=subject, expected=expected)
        return await self._journal.append(entry)

    def _remember(self, life: Life, event: journal.OperationEvent, sequence: int) -> Life:
        after = self._index.get(event.operation_id)
        if after is None or after.sequence != sequence:  # the tail was slower
            after = apply(life, event, sequence, self.clock())
            self._index.put(after)
        self._measures.recorded(life, after)
        return after

    @staticmethod
    def _entry(life: Life, after: Life, event: journal.OperationEvent) -> Entry:
        what = after.what
        assert what is not None  # noqa: S101 - the table lets no operation begin otherwise
        pool, target = (event.pool, event.target) if isinstance(event, journal.Dispatched) else ("", "")
        kind = str(event.__struct_config__.tag)
        return Entry(
            subject=subjects.operation_event(what.principal, what.operation_id, kind, pool=pool, target=target),
            data=_bytes(event),
            event_id=event.id,
            filter=subjects.operation_filter(what.principal, what.operation_id),
            expected=life.sequence,
        )


@cache
def _signed(kind: Any) -> tuple[str, ...]:
    return tuple(one.name for one in structs.fields(kind) if one.type is Signed or Signed in get_args(one.type))


def _detached(event: Event) -> Event:
    """To be kept for as long as the operation is known here, without the messages that its signed parts came in: with
    full outputs in them, or parameters that nobody else may see.
    """
    kind: Any = type(event)
    parts = {name: getattr(event, name) for name in _signed(kind)}
    return structs.replace(event, **{name: part.detached() for name, part in parts.items() if isinstance(part, Signed)})


def _pool(life: Life) -> str:
    return life.requested.pool if life.requested else ""


def _bytes(event: journal.JournalEvent) -> bytes:
    data = encode(event)
    if len(data) > journal.MAX_EVENT_BYTES:
        raise Invalid(f"an event of {len(data)} bytes, at most {journal.MAX_EVENT_BYTES} are kept", code="oversize")
    return data
