"""The time for which operations wait their turn to connect: it does not count in the timeouts of reads."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic


class TurnWait:
    """The wait of one operation, until its connection is there."""

    def __init__(self) -> None:
        self._ended = 0.0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """Return how long it has waited."""
        return self._ended + (0.0 if self._since is None else monotonic() - self._since)

    def begin(self) -> None:
        """Count from now."""
        self._since = monotonic()

    def end(self) -> None:
        """Count no more until the next `begin`."""
        self._ended, self._since = self.seconds, None


class TurnWaits:
    """The waits by target, whose operations wait together for one connection."""

    def __init__(self) -> None:
        self._waiting: set[str] = set()
        self._measured: defaultdict[str, list[TurnWait]] = defaultdict(list)

    @contextmanager
    def waiting(self, target: str) -> Iterator[None]:
        """Let the target wait within the block. Once at a time for each target."""
        self._waiting.add(target)
        for one in self._measured.get(target, ()):
            one.begin()
        try:
            yield
        finally:
            self._waiting.discard(target)
            for one in self._measured.get(target, ()):
                one.end()

    @contextmanager
    def counted(self, target: str, wait: TurnWait) -> Iterator[None]:
        """Count the waits of the target within the block: those of an operation until it is connected."""
        if target in self._waiting:
            wait.begin()
        self._measured[target].append(wait)
        try:
            yield
        finally:
            wait.end()
            self._measured[target].remove(wait)
            if not self._measured[target]:
                del self._measured[target]

    def is_waiting(self, target: str) -> bool:
        """Return whether the target waits now."""
        return target in self._waiting
