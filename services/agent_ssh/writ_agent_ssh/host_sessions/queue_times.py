"""The time for which targets wait their turn to connect: it does not count in the timeout of an operation."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic


class QueueTimes:
    """Counts by target. Several operations of one target wait together."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[int, float]] = {}
        """How many wait, and since when."""
        self._ended: dict[str, float] = {}

    @contextmanager
    def waiting(self, target: str) -> Iterator[None]:
        """Count the block as a wait."""
        waiting, since = self._waiting.get(target, (0, monotonic()))
        self._waiting[target] = waiting + 1, since
        try:
            yield
        finally:
            waiting, since = self._waiting[target]
            if waiting > 1:
                self._waiting[target] = waiting - 1, since
            else:
                del self._waiting[target]
                self._ended[target] = self._ended.get(target, 0.0) + monotonic() - since

    def is_waiting(self, target: str) -> bool:
        """Return whether the target waits now."""
        return target in self._waiting

    def seconds(self, target: str) -> float:
        """Return for how long the target has waited in all: only differences have a meaning."""
        _, since = self._waiting.get(target, (0, monotonic()))
        return self._ended.get(target, 0.0) + monotonic() - since
