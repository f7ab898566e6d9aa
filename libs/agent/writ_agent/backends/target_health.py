"""How each target was found the last time that this agent went there: for health and metrics. Bounded.

It is told by tests and by ordinary work alike, so what people see is what operations meet. An agent has no inventory:
a target that is there no more is one where it has not been for a day.
"""

import time
from collections.abc import Callable, Iterator

from msgspec import Struct

WELL = "ok"
KEPT = 86400.0
"""Seconds for which it says something of the target."""
MOST_TARGETS = 500
MOST_NAMED = 8


class TargetResult(Struct, frozen=True):
    """`reason`: `ok`, or the code of what kept us out. `at`: Unix seconds."""

    reason: str
    at: float

    @property
    def well(self) -> bool:
        """Whether it was reached."""
        return self.reason == WELL


class TargetHealth:
    """By target; of the most recent ones."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._last: dict[str, TargetResult] = {}

    def record(self, target: str, code: str) -> None:
        """Just now, with this code; empty where all was well."""
        self._last.pop(target, None)
        self._last[target] = TargetResult(code or WELL, self._clock())
        if len(self._last) > MOST_TARGETS:
            well = (name for name, standing in self._last.items() if standing.well)
            del self._last[next(well, next(iter(self._last)))]

    def __iter__(self) -> Iterator[tuple[str, TargetResult]]:
        since = self._clock() - KEPT
        return iter(sorted((name, standing) for name, standing in self._last.items() if standing.at > since))

    def problem(self) -> str | None:
        """Which ones could not be reached and why, in a few words; None where all could."""
        ill = [f"{name} ({standing.reason})" for name, standing in self if not standing.well]
        more = f" and {len(ill) - MOST_NAMED} more" if len(ill) > MOST_NAMED else ""
        return f"not to be reached when last tried: {', '.join(ill[:MOST_NAMED])}{more}" if ill else None
