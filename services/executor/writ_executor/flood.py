"""How much one principal may ask: token buckets, and counts of what was turned away. Pure; time comes in."""

from msgspec import Struct, field


class Bucket(Struct):
    """A token bucket: `rate` a second on average, `burst` at once."""

    rate: float
    burst: float
    tokens: float
    at: float

    def take(self, now: float) -> bool:
        """Take one token, if there is one."""
        self.tokens = min(self.burst, self.tokens + max(0.0, now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


class TurnedAway(Struct):
    """What was not recorded of one principal since `since` (Unix seconds), by code."""

    since: float
    codes: dict[str, int] = field(default_factory=dict)


class Buckets:
    """A bucket for each principal."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._by_principal: dict[str, Bucket] = {}

    def take(self, principal: str, now: float) -> bool:
        """Whether this principal may have one more now."""
        bucket = self._by_principal.setdefault(principal, Bucket(self._rate, self._burst, self._burst, now))
        return bucket.take(now)


class Tally:
    """Counts per principal, handed over once a minute."""

    def __init__(self) -> None:
        self._counts: dict[str, TurnedAway] = {}

    def add(self, principal: str, code: str, now: float) -> None:
        """One more was turned away."""
        entry = self._counts.setdefault(principal, TurnedAway(now))
        entry.codes[code] = entry.codes.get(code, 0) + 1

    def due(self, now: float, after: float = 60.0) -> dict[str, TurnedAway]:
        """Take out the counts that are at least `after` seconds old."""
        ready = {name: entry for name, entry in self._counts.items() if now - entry.since >= after}
        for name in ready:
            del self._counts[name]
        return ready
