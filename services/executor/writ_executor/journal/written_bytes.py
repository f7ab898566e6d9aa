"""Bytes written to the journal lately by the operations of each owner, as every replica reads them. Pure."""

from collections.abc import Collection
from heapq import nlargest

PERIOD = 3600.0
"""Seconds over which they are forgotten, evenly at the pace of the largest share."""
MOST_OWNERS = 10_000
"""Owners with the largest counts that are kept, besides as many that came since."""
OVERHEAD = 400
"""Bytes of a stored event besides its body: subject and headers."""


class WrittenBytes:
    """A decaying sum for each owner, a principal or a pool: after `PERIOD` without an event nothing of it is left."""

    def __init__(self) -> None:
        self._by_owner: dict[str, tuple[float, float]] = {}
        self._now = 0.0

    def add(self, owner: str, size: int, time: float) -> None:
        """Count an event stored by the server at `time` (Unix seconds)."""
        self._now = max(self._now, time)
        self._by_owner[owner] = (self.of(owner) + size + OVERHEAD, self._now)
        if len(self._by_owner) > 2 * MOST_OWNERS:  # not one at a time: finding the smallest reads all
            self._by_owner = {one: self._by_owner[one] for one in nlargest(MOST_OWNERS, self._by_owner, key=self.of)}

    def of(self, owner: str) -> float:
        """Return the bytes counted for this owner now."""
        size, at = self._by_owner.get(owner, (0.0, 0.0))
        return size * max(0.0, 1 - (self._now - at) / PERIOD)

    def owners(self) -> Collection[str]:
        """Return the owners with a count."""
        return self._by_owner.keys()
