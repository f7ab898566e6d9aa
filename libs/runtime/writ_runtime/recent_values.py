"""Values of a moment ago, by key: within a bound of bytes and of time, the oldest ones go first."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class RecentValues(Generic[Value]):
    """A cache of recent values. A dropped value is no error: callers then obtain it in the ordinary way.

    `put` needs a running event loop, whose timer drops unused values.
    """

    def __init__(self, most_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, int, Value]] = OrderedDict()
        self._bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def put(self, key: str, value: Value, size: int) -> None:
        """Keep the value in place of an earlier one. One larger than the bound is not kept."""
        self.drop(key)
        if size <= self._most_bytes:
            self._entries[key] = (self._clock(), size, value)
            self._bytes += size
        self._expire()
        self._schedule()

    def get(self, key: str) -> Value | None:
        """Return the value; None if it is not kept any more."""
        self._expire()
        entry = self._entries.get(key)
        return None if entry is None else entry[2]

    def drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry[1]

    def _schedule(self) -> None:
        if self._entries and self._timer is None:
            kept_at = next(iter(self._entries.values()))[0]
            left = max(0.0, kept_at + self._seconds - self._clock())
            self._timer = asyncio.get_running_loop().call_later(left, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._expire()
        self._schedule()

    def _expire(self) -> None:
        oldest_kept = self._clock() - self._seconds
        while self._entries:
            key, (kept_at, _, _) = next(iter(self._entries.items()))
            if self._bytes <= self._most_bytes and kept_at > oldest_kept:
                return
            self.drop(key)
