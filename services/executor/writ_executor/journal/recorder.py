"""The only way to write the journal: one event, one expected sequence, and nothing after a failed append.

Each append names the last event of the operation known to its writer. The server stores it only if this still is the
last one. Continue with the life returned by an append.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar, cast, get_args, overload

from writ_bus import tracing
from writ_bus.port import Entry, Journal
from writ_bus.shared_subjects import SharedSubjects
from writ_contracts import journal, subjects
from writ_contracts.agents import SecurityKind
from writ_contracts.catalogue.sessions import SESSION_OPEN
from writ_contracts.errors import Invalid, WritError
from writ_contracts.history.copied_control_events import CARRIED_FROM
from writ_contracts.history.records import Record
from writ_contracts.life import (
    AcceptedLife,
    CancellingLife,
    ControlLife,
    DispatchedLife,
    GrantedLife,
    L,
    Life,
    apply,
)
from writ_contracts.signing import Signed
from writ_contracts.wire import decode_event, detached_event, encode
from writ_executor.journal.index import Index, Lock
from writ_executor.journal.lines import limit_of
from writ_executor.metrics import ExecutorMeasures
from writ_runtime.logs import Log
from writ_trust.control_events import is_late

ATTEMPTS = 8
"""Tries of a step whose operation moves on meanwhile."""
Event = TypeVar("Event", bound=journal.OperationEvent)
_log = Log("writ.executor")
_KINDS = frozenset(get_args(SecurityKind))


class Recorder:
    """Append events, and update the index for them ahead of the tail."""

    def __init__(self, stream: Journal, index: Index, measures: ExecutorMeasures, clock: Callable[[], float]) -> None:
        """`clock`: the journal server's time, which every event states."""
        self._journal = stream
        self._index = index
        self._measures = measures
        self._shared = SharedSubjects()
        self.clock = clock

    def stamp(self, correlation_id: str = "") -> dict[str, Any]:
        """Return the fields common to all events, for an event at this moment."""
        return tracing.stamp(self.clock(), correlation_id)

    @overload
    async def append(self, life: Life, event: journal.Requested) -> AcceptedLife: ...
    @overload
    async def append(self, life: GrantedLife, event: journal.CancelRequested) -> CancellingLife: ...
    @overload
    async def append(self, life: AcceptedLife, event: journal.Dispatched) -> DispatchedLife: ...
    @overload
    async def append(self, life: AcceptedLife, event: journal.Started) -> ControlLife: ...
    @overload
    async def append(self, life: L, event: journal.OperationEvent) -> L: ...
    async def append(self, life: Life, event: journal.OperationEvent) -> Life:
        """Store the event as the next of this operation. Raises Conflict if it is not the next, Full, Unreachable,
        TimedOut.
        """
        event = detached_event(event)
        after = apply(life, event, life.sequence + 1)  # refuses what the table does not have, before anything is sent
        entry = self._entry(life, after, event)
        with self._measures.stage("record", _pool(after), event.operation_id), self._index.writing(event):
            sequence = await self._journal.append(entry)
            return self._remember(life, event, sequence)

    async def take_lock(self, requested: journal.Requested, lock: Lock | None) -> None:
        """Take the target's lock for this operation, unless it was taken since `lock`. Raises as `append`."""
        line = subjects.target_lock(requested.target)
        sequence = await self._journal.append(self._taken(requested, line, lock, self.clock()))
        self._index.locks[line] = Lock(requested.operation_id, sequence)

    async def dispatch_with_locks(
        self, life: AcceptedLife, event: journal.Dispatched, locks: Mapping[str, Lock | None]
    ) -> None:
        """Store `dispatched` together with all its locks (its target, places under limits), or nothing. `locks`: by
        line, the last lock seen. Raises as `append`.
        """
        requested = life.requested
        after = apply(life, event, life.sequence + 1)
        taken = [self._taken(requested, line, lock, event.at) for line, lock in locks.items()]
        entries = [*taken, self._entry(life, after, event)]
        with self._measures.stage("record", requested.pool, requested.operation_id):
            sequence = await self._journal.append_together(entries)
        for line in locks:
            self._index.locks.pop(line, None)
        self._remember(life, event, sequence)

    def _taken(self, requested: journal.Requested, line: str, lock: Lock | None, at: float) -> Entry:
        who = {
            **tracing.stamp(at, requested.correlation_id),
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
        """Return the control event of an allowed control operation. Its id is the operation's, and every replica of
        policy decides by it.
        """
        return journal.ControlEvent(
            **{**self.stamp(requested.correlation_id), "id": requested.operation_id},
            kind=requested.operation,
            principal=requested.principal,
            operation_id=requested.operation_id,
            body={**requested.effective, "reason": requested.effective.get("reason") or requested.reason},
            decision=requested.decision,
            statement=requested.statement,
            parameters_key=parameters_key,
            **_as_signed(requested),
        )

    async def control_events(self, kind: str) -> list[journal.ControlEvent]:
        """Return all control events of a kind, as far as they can be read."""
        found: list[journal.ControlEvent] = []
        for record in await self._journal.read(subjects.control_event(kind)):
            with suppress(Invalid):  # an unreadable one counts as a stop of everything, which policy handles
                event = decode_event(record.data)
                found += [event] if isinstance(event, journal.ControlEvent) else []
        return found

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
        """Record a security event in the trace it belongs to. Return its sequence."""
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
        """Record an error whose code is a security event; ignore others."""
        if error.code in _KINDS:
            await self.security(
                cast(SecurityKind, error.code),
                str(error),
                operation_id=operation_id,
                principal=principal,
                correlation_id=correlation_id,
            )

    async def append_last(self, subject: str, event: journal.JournalEvent) -> int:
        """Store an event without predecessors; its subject is its own filter. Return its sequence."""

        async def attempt() -> int:
            last = await self._journal.last(subject)
            return await self.append_after(last.sequence if last else 0, subject, event)

        return await self._shared.append(subject, attempt)

    def check_prompt(self, event: journal.ControlEvent) -> None:
        """Raises Invalid where the event's decision is too old for anybody to follow it now."""
        if is_late(event, self.clock()):
            raise Invalid(
                f"{event.kind} was decided too long ago to be stored now: send the request again", code="conflict"
            )

    async def append_once(self, subject: str, event: journal.JournalEvent, *, after: int) -> int:
        """Append unless an event with this id is stored behind `after`. Return its sequence."""

        async def attempt() -> int:
            last = await self._journal.last(subject)
            there = await self._journal.read(subject, after=after)
            if found := [record.sequence for record in there if decode_event(record.data).id == event.id]:
                return found[0]
            if isinstance(event, journal.ControlEvent):
                self.check_prompt(event)
            return await self.append_after(last.sequence if last else 0, subject, event)

        return await self._shared.append(subject, attempt)

    async def append_again(self, record: Record, origin: int, event_id: str) -> None:
        """Store a control event once more, byte for byte, with its first sequence `origin`."""

        async def attempt() -> None:
            last = await self._journal.last(record.subject)
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

        await self._shared.append(record.subject, attempt)

    async def append_each(self, events: Sequence[tuple[Life, journal.Archived]]) -> None:
        """Store the `archived` events of these operations, all or none. Raises as `append`."""
        entries = [self._entry(life, apply(life, event, life.sequence + 1), event) for life, event in events]
        await self._journal.append_together(entries)

    async def append_after(self, expected: int, subject: str, event: journal.JournalEvent) -> int:
        """Store an event whose subject is its own filter with the last sequence `expected`. Raises as `append`."""
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
        pool, target = _addressed(event)
        kind = str(event.__struct_config__.tag)
        return Entry(
            subject=subjects.operation_event(what.principal, what.operation_id, kind, pool=pool, target=target),
            data=_bytes(event),
            event_id=event.id,
            filter=subjects.operation_filter(what.principal, what.operation_id),
            expected=life.sequence,
        )


def _addressed(event: journal.OperationEvent) -> tuple[str, str]:
    """Return the pool and target of an event that agents pull."""
    match event:
        case journal.Dispatched():
            return event.pool, event.target
        case journal.Requested() if event.dispatched is not None:
            return event.pool, event.target
        case _:
            return "", ""


def _pool(life: Life) -> str:
    return life.requested.pool if isinstance(life, AcceptedLife) else ""


def _bytes(event: journal.JournalEvent) -> bytes:
    data = encode(event)
    if len(data) > journal.MAX_EVENT_BYTES:
        raise Invalid(f"an event of {len(data)} bytes; at most {journal.MAX_EVENT_BYTES} are kept", code="oversize")
    return data


def _as_signed(requested: journal.Requested) -> dict[str, Any]:
    """Return the parameters that the requester of a session signed, with their salt: it counts by them as well."""
    if requested.operation != SESSION_OPEN:
        return {}
    return {"salt": requested.salt or "", "given": requested.parameters}
