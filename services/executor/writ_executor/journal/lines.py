"""The line of a target or a limit: operations in the order of their requests, and the holders of the target or limit.

Each step takes the time of a few list operations, however many wait: a drain of 10,000 operations is linear.
"""

from bisect import insort
from collections.abc import Iterator

from writ_contracts.decisions import RuleLimit
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.journal import Requested
from writ_contracts.life import AcceptedLife, Life, State, is_open
from writ_contracts.subjects import limit_line, target_lock

HOLDING = (State.DISPATCHED, State.STARTED, State.CANCELLING)
MOST_REMOVED = 64
"""Removed operations that stay in a list besides as many as are present."""


def needs_approval(requested: Requested) -> bool:
    """Return true if its first decision demands approvals; a dry run changes nothing, and needs none."""
    return requested.verdict.decision == "require_approval" and not requested.dry_run


def may_start(life: AcceptedLife) -> bool:
    """Return whether the operation waits only for its turn, and for no approval."""
    if life.state is State.REQUESTED:
        return not needs_approval(life.requested)
    return life.state is State.APPROVED


def changes(requested: Requested) -> bool:
    """Return whether the operation takes its target's lock: it is a change, no dry run, and not on Writ itself."""
    return requested.risk != "read" and _by_agents(requested)


def lines_of(requested: Requested) -> tuple[str, ...]:
    """Return the lines of the operation: its target's line for a change, then those of its limits."""
    own = (target_lock(requested.target),) if changes(requested) else ()
    if not requested.limits or not _by_agents(requested):
        return own
    return (*own, *dict.fromkeys(limit_line(limit.rule, limit.kind) for limit in requested.limits))


def limit_of(requested: Requested, line: str) -> RuleLimit | None:
    """Return the limit of a line, the strictest if several share it; None for a target's line."""
    found = (limit for limit in requested.limits if limit_line(limit.rule, limit.kind) == line)
    return min(found, key=lambda limit: limit.most, default=None)


def _by_agents(requested: Requested) -> bool:
    return not requested.dry_run and requested.target != WRIT_TARGET


class OrderedIds:
    """Operation ids in the order of their requests. Removed ones stay in the list until they come to an end of it."""

    def __init__(self) -> None:
        self._keys: list[tuple[int, str]] = []
        self._head = 0
        self._present: set[str] = set()

    def add(self, sequence: int, operation_id: str) -> None:
        """Add an operation, unless it is there. Requests mostly come in order."""
        if operation_id in self._present:
            return
        self._present.add(operation_id)
        key = (sequence, operation_id)
        if len(self._keys) == self._head or self._keys[-1] < key:
            self._keys.append(key)
        else:
            insort(self._keys, key, lo=self._head)

    def discard(self, operation_id: str) -> None:
        self._present.discard(operation_id)
        if len(self._keys) - self._head > 2 * len(self._present) + MOST_REMOVED:
            self._keys = sorted({key for key in self._keys[self._head :] if key[1] in self._present})
            self._head = 0

    def __iter__(self) -> Iterator[str]:
        self._drop_removed()
        for at in range(self._head, len(self._keys)):
            if (operation_id := self._keys[at][1]) in self._present:
                yield operation_id

    def last(self) -> str | None:
        """Return the operation with the latest request."""
        while len(self._keys) > self._head and self._keys[-1][1] not in self._present:
            self._keys.pop()
        return self._keys[-1][1] if len(self._keys) > self._head else None

    def _drop_removed(self) -> None:
        while self._head < len(self._keys) and self._keys[self._head][1] not in self._present:
            self._head += 1
        if self._head > MOST_REMOVED and 2 * self._head > len(self._keys):
            del self._keys[: self._head]
            self._head = 0


class OperationLine:
    """The open operations of one line."""

    def __init__(self) -> None:
        self._members: dict[str, AcceptedLife] = {}
        self._holding: set[str] = set()
        self._all, self._waiting = OrderedIds(), OrderedIds()

    def __len__(self) -> int:
        return len(self._members)

    def put(self, operation_id: str, life: Life) -> None:
        """Take in the present life of an operation."""
        if not is_open(life):
            self._remove(operation_id)
            return
        self._members[operation_id] = life
        self._all.add(life.first_sequence, operation_id)
        if life.state in HOLDING:
            self._holding.add(operation_id)
        else:
            self._holding.discard(operation_id)
        if may_start(life):
            self._waiting.add(life.first_sequence, operation_id)
        else:
            self._waiting.discard(operation_id)

    def get(self, operation_id: str) -> AcceptedLife | None:
        return self._members.get(operation_id)

    def holding(self) -> list[AcceptedLife]:
        """Return the operations dispatched and not ended."""
        return [self._members[operation_id] for operation_id in self._holding]

    def waiting(self, up_to: int) -> Iterator[AcceptedLife]:
        """Yield the operations waiting for their turn, requested up to this sequence, in order."""
        for operation_id in self._waiting:
            life = self._members[operation_id]
            if life.first_sequence > up_to:
                return
            yield life

    def latest(self) -> AcceptedLife | None:
        """Return the one with the latest request."""
        last = self._all.last()
        return None if last is None else self._members[last]

    def _remove(self, operation_id: str) -> None:
        self._members.pop(operation_id, None)
        self._holding.discard(operation_id)
        self._all.discard(operation_id)
        self._waiting.discard(operation_id)
