"""Rate limits by principal: token buckets. Pure; time comes in."""

from msgspec import Struct

MOST = 10_000
"""Buckets from which on full ones are forgotten: a key of a service can name any principal."""


class Bucket(Struct):
    """A token bucket: `rate` a second on average, `burst` at once."""

    rate: float
    burst: float
    tokens: float
    at: float

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Take a token, or so many; return False without them."""
        self.tokens = min(self.burst, self.tokens + max(0.0, now - self.at) * self.rate)
        self.at = now
        if self.tokens < amount:
            return False
        self.tokens -= amount
        return True

    def is_full(self, now: float) -> bool:
        """Return whether it has all its tokens."""
        return self.tokens + max(0.0, now - self.at) * self.rate >= self.burst


class Buckets:
    """A bucket for each principal."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._by_principal: dict[str, Bucket] = {}
        self._most = MOST

    def take(self, principal: str, now: float, amount: float = 1.0) -> bool:
        """Take one token of this principal, or so many, if there are. Return whether there were."""
        bucket = self._by_principal.get(principal)
        if bucket is None:
            if len(self._by_principal) >= self._most:
                self._forget_full(now)
            bucket = self._by_principal[principal] = Bucket(self._rate, self._burst, self._burst, now)
        return bucket.take(now, amount)

    def _forget_full(self, now: float) -> None:
        """Forget buckets that are as new. It happens again once there are twice as many as are left now."""
        self._by_principal = {name: one for name, one in self._by_principal.items() if not one.is_full(now)}
        self._most = max(MOST, 2 * len(self._by_principal))
