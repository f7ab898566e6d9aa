"""The open operations, as far as the journal was followed: a fold, kept up to date.

Waiting operations are queued in lines, in the order of their requests: one line for the target, where one change runs
at a time, and one for each limit of the decision. A line is named by the subject of its lock in the journal.

Pure: records go in, lives come out. The index serves to find operations quickly and in order. The journal's expected
sequence decides races, so an executor with a lagging index can lose a race but never break a rule.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

from msgspec import Struct

from writ_contracts.history.archives import ARCHIVE, announced
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.journal import (
    Archived,
    Carried,
    ControlEvent,
    LimitTaken,
    LockTaken,
    OperationEvent,
    Requested,
)
from writ_contracts.life import AcceptedLife, L, Life, apply, is_open
from writ_contracts.subjects import LIMITS, control_event, parse_event, target_lock
from writ_contracts.wire import decode_event, detached_event, event_of
from writ_executor.journal.lines import HOLDING, OperationLine, changes, limit_of, lines_of
from writ_executor.journal.resolvable import may_be_resolved
from writ_executor.journal.usage import Owner, OwnerUsage

RECENTLY_ENDED = 512
MOST_UNKNOWN = 4_096
_FIRST = ("requested", "refused")
_TARGETS = f"{LIMITS}target."
ARCHIVES = control_event(ARCHIVE)


class Lock(Struct, frozen=True):
    """The operation which last took the lock of a line, and the sequence of its event."""

    operation_id: str
    sequence: int


class Index:
    """Lives by operation id, their lines, and the last sequence read."""

    def __init__(self) -> None:
        self.sequence = 0
        self.control_sequence = 0
        self.archived = 0
        """The last sequence that was announced as archived."""
        self.locks: dict[str, Lock] = {}
        self.principals, self.pools = OwnerUsage(), OwnerUsage()
        self.usages: Mapping[Owner, OwnerUsage] = {"principal": self.principals, "pool": self.pools}
        self._open: dict[str, AcceptedLife] = {}
        self._ended: OrderedDict[str, Life] = OrderedDict()
        self._unknown: OrderedDict[str, AcceptedLife] = OrderedDict()
        self._lines: dict[str, OperationLine] = {}
        self._own: dict[str, OperationEvent] = {}

    @contextmanager
    def writing(self, event: OperationEvent) -> Iterator[None]:
        """Remember the event while this replica appends it. It usually comes back by the tail before the reply does."""
        self._own[event.id] = event
        try:
            yield
        finally:
            del self._own[event.id]

    def replace_with(self, other: "Index") -> None:
        """Take over what another index has read, and forget all else. The other one is not used any more."""
        self.sequence, self.control_sequence, self.archived = other.sequence, other.control_sequence, other.archived
        self.locks = other.locks
        self.principals.replace_with(other.principals)
        self.pools.replace_with(other.pools)
        self._open, self._ended, self._unknown, self._lines = other._open, other._ended, other._unknown, other._lines

    def get(self, operation_id: str) -> Life | None:
        """Return the life of an open or lately ended operation."""
        return self._open.get(operation_id) or self._unknown.get(operation_id) or self._ended.get(operation_id)

    def open(self) -> Iterator[AcceptedLife]:
        """Yield all open operations. Changes during iteration are safe."""
        return iter(tuple(self._open.values()))

    def unknown(self) -> Iterator[AcceptedLife]:
        """Yield operations with a recent outcome `unknown`, which may still be resolved."""
        return iter(tuple(self._unknown.values()))

    def count(self) -> int:
        """Return the number of open operations."""
        return len(self._open)

    def open_of(self, principal: str) -> list[AcceptedLife]:
        """Return one principal's open operations, in the order of their requests."""
        ids = self.principals.operations(principal)
        return sorted((self._open[item] for item in ids), key=lambda life: life.first_sequence)

    def next_in(self, line: str, waits: Callable[[AcceptedLife], bool] = lambda _: False) -> AcceptedLife | None:
        """Return the next operation in this line; None if none waits or the target is being changed.

        Only operations up to the last sequence read are in line: an unknown one may precede anything later. In the line
        of a limit, operations still waiting for their target hold up nobody. `waits`: whether one must not go yet.
        """
        members, targets = self._lines.get(line), line.startswith(_TARGETS)
        if members is None or (targets and members.holding()):
            return None
        in_turn = members.waiting(self.sequence)
        if targets:
            first = next(in_turn, None)
            return None if first is None or waits(first) else first
        return next((life for life in in_turn if self.has_target(life) and not waits(life)), None)

    def holds(self, lock: Lock) -> bool:
        """Return whether a lock is held: its operation has not ended. An unknown one has ended, unless its lock is
        newer than the index.
        """
        holder = self.get(lock.operation_id)
        return lock.sequence > self.sequence if holder is None else is_open(holder)

    def ahead_of(self, life: AcceptedLife) -> AcceptedLife | None:
        """Return the operation which holds its target, or is before it in the target's line."""
        if not changes(life.requested):
            return None
        members = self._lines.get(target_lock(life.requested.target))
        if members is None:
            return None
        first = next(members.waiting(life.first_sequence - 1), None)
        return min((*members.holding(), *([first] if first else ())), key=_first, default=None)

    def has_target(self, life: AcceptedLife) -> bool:
        """Return whether its target is free for it, as far as this replica knows."""
        requested = life.requested
        return not changes(requested) or self.next_in(target_lock(requested.target)) is life

    def has_room(self, line: str, life: AcceptedLife, lock: Lock | None) -> bool:
        """Return whether this limit has room for one more. Certain only once the journal was read up to `lock`.

        The latest request in line has the number, so a lowered limit counts for all waiting ones.
        """
        members = self._lines.get(line) or OperationLine()
        inside, last = members.holding(), members.get(lock.operation_id) if lock else None
        if last is not None and last.state not in HOLDING:
            inside.append(last)
        latest = members.latest() or life
        limit = limit_of(latest.requested, line)
        if limit is None:
            return False
        if limit.kind != "max_targets":  # any other kind counts as operations, the strictest count
            return len(inside) < limit.most
        targets = {one.requested.target for one in (*inside, life)}
        return len(targets) <= limit.most

    def read(self, sequence: int, subject: str, data: bytes, event_id: str = "", time: float = 0.0) -> None:
        """Take in the next record of the journal with its event id and server time. Raises Invalid or Conflict on an
        impossible one.
        """
        self.sequence = max(self.sequence, sequence)
        if subject.startswith("writ.journal.control."):
            self.control_sequence = max(self.control_sequence, sequence)
            if subject == ARCHIVES:
                self.release(sequence, data)
        elif subject.startswith(LIMITS):
            self._lock(sequence, subject, data)
        else:
            self._event(sequence, subject, data, event_id, time)

    def release(self, sequence: int, data: bytes) -> None:
        """Forget operations that ended in a range which is announced as archived here: the range may be removed now,
        and the keys of its refused requests are free then. Raises Invalid.
        """
        event = decode_event(data)
        if not isinstance(event, ControlEvent):
            return
        self.archived = max(self.archived, min(announced(event, sequence, data).last, sequence))
        _forget_up_to(self._ended, self.archived)
        _forget_up_to(self._unknown, self.archived)

    def _lock(self, sequence: int, line: str, data: bytes) -> None:
        event = decode_event(data)
        if isinstance(event, LockTaken | LimitTaken):
            known = self.locks.get(line)
            if known is None or known.sequence < sequence:
                self.locks[line] = Lock(event.operation_id, sequence)

    def _event(self, sequence: int, subject: str, data: bytes, event_id: str, time: float) -> None:
        where = parse_event(subject)
        if where is None:
            return
        known = self.get(where.operation_id)
        self.principals.written.add(where.principal, len(data), time)
        if known is None and where.event not in _FIRST:
            return  # it ended before we began to follow
        if known is None or known.sequence < sequence:
            event = cast("OperationEvent | Carried", self._own.get(event_id) or detached_event(event_of(subject, data)))
            after = apply(_before(known, event), event, sequence, time)
            if isinstance(after, AcceptedLife) and after.requested.target != WRIT_TARGET:
                self.pools.written.add(after.requested.pool, len(data), time)
            elif isinstance(after, AcceptedLife):
                self.principals.control.add(where.principal, len(data), time)
            self._keep(after)

    def put(self, life: Life) -> None:
        """Remember the life, unless a later one is known."""
        what = life.what
        if what is None or self._is_forgotten(what.operation_id, life):
            return
        self._keep(life)

    def _is_forgotten(self, operation_id: str, life: Life) -> bool:
        """Return whether this is a late answer: the tail has passed its event, and what came after is forgotten."""
        passed = self.sequence if life.open else self.archived
        return life.sequence <= passed and self.get(operation_id) is None

    def _keep(self, life: Life) -> None:
        what = life.what
        known = self.get(what.operation_id) if what else None
        if what is not None and (known is None or known.sequence < life.sequence):
            self._place(what.operation_id, what.principal, life)

    def _place(self, operation_id: str, principal: str, life: Life) -> None:
        known = self.get(operation_id)
        accepted = life if isinstance(life, AcceptedLife) else known  # an archived one leaves its lines
        requested = accepted.requested if isinstance(accepted, AcceptedLife) else None
        if is_open(life):
            self._open[operation_id] = life
            self._count(operation_id, principal, life.requested)
        else:
            self._open.pop(operation_id, None)
            self.principals.ended(principal, operation_id)
            self.pools.ended(requested.pool if requested else "", operation_id)
            self._unknown.pop(operation_id, None)
            if isinstance(life, AcceptedLife) and may_be_resolved(life):
                _remember(self._unknown, operation_id, life, MOST_UNKNOWN)
            else:
                _remember(self._ended, operation_id, life, RECENTLY_ENDED)
        if requested is not None:
            for line in lines_of(requested):
                self._queue(line, operation_id, life)

    def _count(self, operation_id: str, principal: str, requested: Requested) -> None:
        self.principals.opened(principal, operation_id, requested.hidden_bytes)
        if requested.target != WRIT_TARGET:
            self.pools.opened(requested.pool, operation_id, requested.hidden_bytes)

    def _queue(self, line: str, operation_id: str, life: Life) -> None:
        members = self._lines.setdefault(line, OperationLine())
        members.put(operation_id, life)
        if not len(members):
            del self._lines[line]

    def snapshot(self) -> list[tuple[str, str]]:
        """Return (principal, operation id) of all operations which may still get an event: the content of a snapshot,
        with `sequence`.
        """
        lives: Iterable[AcceptedLife] = (*self.open(), *self.unknown())
        return [(life.requested.principal, life.requested.operation_id) for life in lives]


def _before(known: Life | None, event: OperationEvent | Carried) -> Life:
    """Return the life before the event; an empty one if its end went into an archive before this replica read it."""
    return Life() if known is None or (known.open and isinstance(event, Archived)) else known


def _forget_up_to(lives: OrderedDict[str, L], archived: int) -> None:
    for operation_id in [one for one, life in lives.items() if life.sequence <= archived]:
        del lives[operation_id]


def _remember(lives: OrderedDict[str, L], operation_id: str, life: L, most: int) -> None:
    lives[operation_id] = life
    while len(lives) > most:
        lives.popitem(last=False)


def _first(life: Life) -> int:
    return life.first_sequence
