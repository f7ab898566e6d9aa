"""Limits of the messages of agents that get no reply: heartbeats and progress. Pure; time comes in."""

from writ_runtime.buckets import Buckets

RATE, BURST = 4_096.0, 16_384.0
"""KiB that each pool may send a second, and at once, as heartbeats, and the same as progress; a message counts as one
or more. 256 instances that each send a heartbeat of 2.5 KB five times a second stay below. A stolen key of a pool sent
450 heartbeats a second with 4,096 operations each, and no other pool's operation was carried out.
"""
UNIT = 1024
REPORTED = 60.0
"""A flood is reported once in so many seconds."""


class AgentTraffic:
    """Counts the messages of each pool."""

    def __init__(self) -> None:
        self._buckets = Buckets(RATE, BURST)
        self._reported: dict[str, float] = {}

    def admits(self, kind: str, pool: str, size: int, now: float) -> bool:
        """Return whether a message of so many bytes is read."""
        return self._buckets.take(f"{kind}.{pool}", now, 1 + size // UNIT)

    def is_new_flood(self, pool: str, now: float) -> bool:
        """Return whether a flood of this pool has not been reported lately. Call it where a message is not admitted."""
        if now - self._reported.get(pool, float("-inf")) < REPORTED:
            return False
        self._reported[pool] = now
        return True
