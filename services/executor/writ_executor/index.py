"""The operations that have not ended, as far as the journal has been followed: a fold, kept up to date.

Pure: records go in, lives come out. It is a view for finding things quickly and in order; what decides who wins is
always the journal's expected sequence, so a view that lags can lose a race but never break a rule.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from msgspec import Struct

from writ_contracts.ids import WRIT_TARGET
from writ_contracts.journal import LockTaken, Requested
from writ_contracts.life import Life, State, apply
from writ_contracts.subjects import parse_event
from writ_contracts.wire import decode_event

RECENTLY_ENDED = 512
MOST_UNKNOWN = 4_096
_FIRST = ("requested", "refused")
_WAITING = (State.REQUESTED, State.APPROVED)
_HOLDING = (State.DISPATCHED, State.STARTED, State.CANCELLING)


class Lock(Struct, frozen=True):
    """Who last took a target, and where the journal says so."""

    operation_id: str
    sequence: int


class Index:
    """Lives by operation id, the waiting line of each target, and how far the journal has been read."""

    def __init__(self) -> None:
        self.sequence = 0
        self.control_sequence = 0
        self.locks: dict[str, Lock] = {}
        self._open: dict[str, Life] = {}
        self._ended: OrderedDict[str, Life] = OrderedDict()
        self._unknown: OrderedDict[str, Life] = OrderedDict()
        self._lines: dict[str, dict[str, Life]] = {}
        self._by_principal: dict[str, set[str]] = {}

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

    def next_on(self, target: str) -> Life | None:
        """The change that is next on this target; None while one is under way, or none waits.

        Only what the journal has been read up to is in line: before what came later there may be one we do not know.
        """
        line = self._lines.get(target, {})
        if any(life.state in _HOLDING for life in line.values()):
            return None
        waiting = (life for life in line.values() if life.state in _WAITING and life.first_sequence <= self.sequence)
        return min(waiting, key=_first, default=None)

    def targets_waiting(self) -> list[str]:
        """Targets with a waiting line."""
        return list(self._lines)

    def read(self, sequence: int, subject: str, data: bytes) -> None:
        """Take in the next record of the journal. Raises Invalid or Conflict on one that cannot be."""
        self.sequence = max(self.sequence, sequence)
        if subject.startswith("writ.journal.control."):
            self.control_sequence = max(self.control_sequence, sequence)
        elif subject.startswith("writ.journal.limit.target."):
            self._lock(sequence, data)
        else:
            self._event(sequence, subject, data)

    def _lock(self, sequence: int, data: bytes) -> None:
        event = decode_event(data)
        if isinstance(event, LockTaken):
            known = self.locks.get(event.target)
            if known is None or known.sequence < sequence:
                self.locks[event.target] = Lock(event.operation_id, sequence)

    def _event(self, sequence: int, subject: str, data: bytes) -> None:
        where = parse_event(subject)
        if where is None:
            return
        known = self.get(where.operation_id)
        if known is None and where.event not in _FIRST:
            return  # it ended before we began to follow
        if known is None or known.sequence < sequence:
            self.put(apply(known or Life(), decode_event(data), sequence))  # type: ignore[arg-type]

    def put(self, life: Life) -> None:
        """Remember the life as it is now, unless a later one is known."""
        what = life.requested or life.refused
        if what is None:
            return
        known = self.get(what.operation_id)
        if known is None or known.sequence < life.sequence:
            self._place(what.operation_id, what.principal, life)

    def _place(self, operation_id: str, principal: str, life: Life) -> None:
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
        if life.requested is not None and changes(life.requested):
            self._queue(life.requested.target, operation_id, life)

    def _queue(self, target: str, operation_id: str, life: Life) -> None:
        line = self._lines.setdefault(target, {})
        if life.open:
            line[operation_id] = life
        else:
            line.pop(operation_id, None)
        if not line:
            del self._lines[target]

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


def _remember(lives: OrderedDict[str, Life], operation_id: str, life: Life, most: int) -> None:
    lives[operation_id] = life
    while len(lives) > most:
        lives.popitem(last=False)


def _first(life: Life) -> int:
    return life.first_sequence


def changes(requested: Requested) -> bool:
    """Whether it takes its target's lock: it changes something, for real, on something other than Writ itself."""
    return requested.risk != "read" and not requested.dry_run and requested.target != WRIT_TARGET
