"""Counts of refusals in a flood, by principal. The limits are in `writ_runtime.buckets`. Pure."""

from msgspec import Struct, field


class RefusalCount(Struct):
    """Refusals of one principal without an event since `since` (Unix seconds), by code."""

    since: float
    codes: dict[str, int] = field(default_factory=dict)


class RefusalCounts:
    """Counts per principal, taken out once a minute."""

    def __init__(self) -> None:
        self._counts: dict[str, RefusalCount] = {}

    def add(self, principal: str, code: str, now: float) -> None:
        entry = self._counts.setdefault(principal, RefusalCount(now))
        entry.codes[code] = entry.codes.get(code, 0) + 1

    def put_back(self, principal: str, counted: RefusalCount) -> None:
        """Count what `due` took out again: it could not be recorded."""
        entry = self._counts.setdefault(principal, RefusalCount(counted.since))
        entry.since = min(entry.since, counted.since)
        for code, count in counted.codes.items():
            entry.codes[code] = entry.codes.get(code, 0) + count

    def due(self, now: float, after: float = 60.0) -> dict[str, RefusalCount]:
        """Take out the counts at least `after` seconds old."""
        ready = {name: entry for name, entry in self._counts.items() if now - entry.since >= after}
        for name in ready:
            del self._counts[name]
        return ready
