"""Bytes written to the journal lately by each principal's operations, as every replica reads them. Pure."""

PERIOD = 3600.0
"""Seconds over which they are forgotten, evenly at the pace of the largest share."""
MOST_PRINCIPALS = 10_000
OVERHEAD = 400
"""Bytes of a stored event besides its body: subject and headers."""


class WrittenBytes:
    """A decaying sum for each principal: after `PERIOD` without an event nothing of it is left."""

    def __init__(self) -> None:
        self._by_principal: dict[str, tuple[float, float]] = {}
        self._now = 0.0

    def add(self, principal: str, size: int, time: float) -> None:
        """Count an event stored by the server at `time` (Unix seconds)."""
        self._now = max(self._now, time)
        self._by_principal[principal] = (self.of(principal) + size + OVERHEAD, self._now)
        if len(self._by_principal) > MOST_PRINCIPALS:
            least = min(self._by_principal, key=self.of)
            del self._by_principal[least]

    def of(self, principal: str) -> float:
        """Return the bytes counted for this principal now."""
        size, at = self._by_principal.get(principal, (0.0, 0.0))
        return size * max(0.0, 1 - (self._now - at) / PERIOD)
