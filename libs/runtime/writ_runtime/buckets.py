"""Rate limits by principal: token buckets. Pure; time comes in."""

from msgspec import Struct


class Bucket(Struct):
    """A token bucket: `rate` a second on average, `burst` at once."""

    rate: float
    burst: float
    tokens: float
    at: float

    def take(self, now: float) -> bool:
        """Take a token; return False without one."""
        self.tokens = min(self.burst, self.tokens + max(0.0, now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


class Buckets:
    """A bucket for each principal."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._by_principal: dict[str, Bucket] = {}

    def take(self, principal: str, now: float) -> bool:
        """Take one token of this principal, if there is one. Return whether there was."""
        bucket = self._by_principal.setdefault(principal, Bucket(self._rate, self._burst, self._burst, now))
        return bucket.take(now)
