"""The latest result per target of this agent, for health and metrics. Bounded.

Tests and operations both count, so health shows the experience of operations. An agent has no inventory: a target
without any result for a day counts as removed.
"""

import time
from collections.abc import Callable, Iterator

from msgspec import Struct

from writ_contracts.bounds import first_names

WELL = "ok"
KEPT = 86400.0
"""Seconds for which a result is of interest."""
MOST_TARGETS = 500
MOST_NAMED = 8


class TargetContact(Struct, frozen=True):
    """The latest result of reaching a target. `reason`: `ok` or an error code. `at`: Unix seconds."""

    reason: str
    at: float

    @property
    def well(self) -> bool:
        """Return whether it was reached."""
        return self.reason == WELL


class TargetHealth:
    """The latest results, by target."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._last: dict[str, TargetContact] = {}

    def record(self, target: str, code: str) -> None:
        """Record a result with this code; empty for success."""
        self._last.pop(target, None)
        self._last[target] = TargetContact(code or WELL, self._clock())
        if len(self._last) > MOST_TARGETS:
            well = (name for name, standing in self._last.items() if standing.well)
            del self._last[next(well, next(iter(self._last)))]

    def __iter__(self) -> Iterator[tuple[str, TargetContact]]:
        since = self._clock() - KEPT
        return iter(sorted((name, standing) for name, standing in self._last.items() if standing.at > since))

    def problem(self) -> str | None:
        """Return the unreachable targets with reasons, in a few words; None if all were reached."""
        ill = [f"{name} ({standing.reason})" for name, standing in self if not standing.well]
        return f"unreachable at the last attempt: {first_names(ill, MOST_NAMED)}" if ill else None
