"""The operations that have not ended, as far as the journal has been followed: a fold, kept up to date.

Whoever has to wait stands in lines, in the order of requests: for its target, where one at a time may change something,
and for each limit of its decision. A line is named by the subject on which the journal says who was let in last.

Pure: records go in, lives come out. It is a view for finding things quickly and in order; what decides who wins is
always the journal's expected sequence, so a view that lags can lose a race but never break a rule.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from writ_contracts.decisions import RuleLimit
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.journal import Archived, JournalEvent, LimitTaken, LockTaken, OperationEvent, Requested
from writ_contracts.life import Life, State, apply
from writ_contracts.subjects import LIMITS, limit_line, parse_event, target_lock
from writ_contracts.wire import decode_event, event_of

RECENTLY_ENDED = 512
MOST_UNKNOWN = 4_096
_FIRST = ("requested", "refused")
_WAITING = (State.REQUESTED, State.APPROVED)
_TARGETS = f"{LIMITS}target."
_HOLDING = (State.DISPATCHED, State.STARTED, State.CANCELLING)


class Lock(Struct, frozen=True):
    """Who was let in last in a line, and where the journal says so."""

    operation_id: str
    sequence: int


class Index:
    """Lives by operation id, the lines that they stand in, and how far the journal has been read."""

    def __init__(self) -> None:
        self.sequence = 0
        self.control_sequence = 0
        self.locks: dict[str, Lock] = {}
        self._open: dict[str, Life] = {}
        self._ended: OrderedDict[str, Life] = OrderedDict()
        self._unknown: OrderedDict[str, Life] = OrderedDict()
        self._lines: dict[str, dict[str, Life]] = {}
        self._by_principal: dict[str, set[str]] = {}
        self._own: dict[str, OperationEvent] = {}

    @contextmanager
    def writing(self, event: OperationEvent) -> Iterator[None]:
        """While this replica appends that event, which comes back by the tail before the answer does, as a rule."""
        self._own[event.id] = event
        try:
            yield
        finally:
            del self._own[event.id]

    def get(self, operation_id: str) -> Life | None:
        """The life, if it is open or ended lately."""
        return self._open.get(operation_id) or self._unknown.get(operation_id) or self._ended.get(operation_id)

    def open(self) -> Iterator[Life]:
        """All that have not ended; safe against changes while one iterates."""
        return iter(tuple(self._open.values()))

    def unknown(self) -> Iterator[Life]:
        """Those that ended `unknown` lately and may still be resolved."""
        return iter(tuple(self._unknown.values()))

    def count(self) -> int:
        """How many have not ended."""
        return len(self._open)

    def open_of(self, principal: str) -> list[Life]:
        """One principal's, in the order of their requests."""
        ids = self._by_principal.get(principal, ())
        return sorted((self._open[item] for item in ids), key=lambda life: life.first_sequence)

    def count_of(self, principal: str) -> int:
        """How many of one principal's have not ended."""
        return len(self._by_principal.get(principal, ()))

    def next_in(self, line: str) -> Life | None:
        """Whoever is next in this line; None if nobody waits, or the target is being changed.

        Only what the journal has been read up to is in line: before what came later there may be one we do not know. In
        the line of a limit those who still wait for their target hold up nobody.
        """
        members = self._lines.get(line, {}).values()
        targets = line.startswith(_TARGETS)
        if targets and any(life.state in _HOLDING for life in members):
            return None
        waiting = (life for life in members if life.state in _WAITING and life.first_sequence <= self.sequence)
        return min((life for life in waiting if targets or self.has_target(life)), key=_first, default=None)

    def has_target(self, life: Life) -> bool:
        """Whether its target lets it go, as far as we know."""
        requested = life.requested
        return requested is None or not changes(requested) or self.next_in(target_lock(requested.target)) is life

    def has_room(self, line: str, life: Life, lock: Lock | None) -> bool:
        """Whether this limit lets one more go. Sure only once the journal has been read up to `lock`.

        The number is that of the latest request in line, so a limit that was lowered counts for all who still wait.
        """
        members = self._lines.get(line, {})
        last = lock.operation_id if lock else None
        inside = [one for each, one in members.items() if one.state in _HOLDING or each == last]
        latest = max(members.values(), key=_first, default=life)
        limit = limit_of(latest.requested, line) if latest.requested else None
        if limit is None:
            return False
        if limit.kind == "max_concurrent":
            return len(inside) < limit.most
        targets = {one.requested.target for one in (*inside, life) if one.requested}
        return len(targets) <= limit.most

    def read(self, sequence: int, subject: str, data: bytes, event_id: str = "", time: float = 0.0) -> None:
        """Take in the next record of the journal, which its writer gave that id and the server that time. Raises
        Invalid or Conflict on one that cannot be.
        """
        self.sequence = max(self.sequence, sequence)
        if subject.startswith("writ.journal.control."):
            self.control_sequence = max(self.control_sequence, sequence)
        elif subject.startswith(LIMITS):
            self._lock(sequence, subject, data)
        else:
            self._event(sequence, subject, data, event_id, time)

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
        if known is None and where.event not in _FIRST:
            return  # it ended before we began to follow
        if known is None or known.sequence < sequence:
            event = self._own.get(event_id) or event_of(subject, data)
            self._keep(apply(_before(known, event), event, sequence, time))  # type: ignore[arg-type]

    def put(self, life: Life) -> None:
        """Remember the life as it is now, unless a later one is known."""
        what = life.what
        if what is None or (life.open and life.sequence <= self.sequence and self.get(what.operation_id) is None):
            return  # a late answer: the tail has passed this event, and the end that came after it is forgotten
        self._keep(life)

    def _keep(self, life: Life) -> None:
        what = life.what
        known = self.get(what.operation_id) if what else None
        if what is not None and (known is None or known.sequence < life.sequence):
            self._place(what.operation_id, what.principal, life)

    def _place(self, operation_id: str, principal: str, life: Life) -> None:
        known = self.get(operation_id)
        requested = life.requested or (known.requested if known else None)  # of an archived one only lines are left
        if life.open:
            self._open[operation_id] = life
            self._by_principal.setdefault(principal, set()).add(operation_id)
        else:
            self._open.pop(operation_id, None)
            self._leave(self._by_principal, principal, operation_id)
            self._unknown.pop(operation_id, None)
            if life.state is State.UNKNOWN:
                _remember(self._unknown, operation_id, life, MOST_UNKNOWN)
            else:
                _remember(self._ended, operation_id, life, RECENTLY_ENDED)
        if requested is not None:
            for line in lines(requested):
                self._queue(line, operation_id, life)

    def _queue(self, line: str, operation_id: str, life: Life) -> None:
        members = self._lines.setdefault(line, {})
        if life.open:
            members[operation_id] = life
        else:
            members.pop(operation_id, None)
        if not members:
            del self._lines[line]

    @staticmethod
    def _leave(groups: dict[str, set[str]], key: str, item: str) -> None:
        members = groups.get(key, set())
        members.discard(item)
        if not members:
            groups.pop(key, None)

    def snapshot(self) -> list[tuple[str, str]]:
        """(principal, operation id) of all that may still get an event: what a new replica needs, with `sequence`."""
        lives: Iterable[Life] = (*self.open(), *self.unknown())
        return [(life.requested.principal, life.requested.operation_id) for life in lives if life.requested]


def _before(known: Life | None, event: JournalEvent) -> Life:
    """What the event comes after; nothing, where the end went into an archive before it was read here."""
    return Life() if known is None or (known.open and isinstance(event, Archived)) else known


def _remember(lives: OrderedDict[str, Life], operation_id: str, life: Life, most: int) -> None:
    lives[operation_id] = life
    while len(lives) > most:
        lives.popitem(last=False)


def _first(life: Life) -> int:
    return life.first_sequence


def changes(requested: Requested) -> bool:
    """Whether it takes its target's lock: it changes something, for real, on something other than Writ itself."""
    return requested.risk != "read" and _by_agents(requested)


def lines(requested: Requested) -> tuple[str, ...]:
    """The lines that it stands in: first that of its target, if it changes something, then those of its limits."""
    own = (target_lock(requested.target),) if changes(requested) else ()
    if not requested.limits or not _by_agents(requested):
        return own
    return (*own, *dict.fromkeys(limit_line(limit.rule, limit.kind) for limit in requested.limits))


def limit_of(requested: Requested, line: str) -> RuleLimit | None:
    """The limit that the line is of; the strictest, were there several; None for a target's."""
    found = (limit for limit in requested.limits if limit_line(limit.rule, limit.kind) == line)
    return min(found, key=lambda limit: limit.most, default=None)


def _by_agents(requested: Requested) -> bool:
    return not requested.dry_run and requested.target != WRIT_TARGET
