"""The share of successes among the operations ended within five minutes, recorded by any replica.

Pure: times come in. Refusals by policy, a person or an approver count as neither success nor failure.
"""

from collections import deque
from collections.abc import Callable

SECONDS = 300.0
STEP = 10.0
GOOD = frozenset({"succeeded", "previewed"})
BAD = frozenset({"failed", "unknown", "expired"})
FEWEST = 10
"""Below this number of ends no share is conclusive."""
LEAST = 0.8


class SuccessRate:
    """Ends in steps of ten seconds, so a flood takes no more memory than idle times."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: the journal server's time, as in the events."""
        self._clock = clock
        self._steps: deque[tuple[float, list[int]]] = deque(maxlen=int(SECONDS / STEP) + 1)

    def ended(self, at: float, outcome: str) -> None:
        """Count an ended operation; `at` in Unix seconds, in order."""
        if outcome not in GOOD and outcome not in BAD:
            return
        step = at // STEP * STEP
        if not self._steps or self._steps[-1][0] < step:
            self._steps.append((step, [0, 0]))
        self._steps[-1][1][outcome in BAD] += 1

    def counts(self) -> tuple[int, int]:
        """Return (good, bad) of the last five minutes."""
        since = self._clock() - SECONDS
        within = [counts for step, counts in self._steps if step > since]
        return sum(good for good, _ in within), sum(bad for _, bad in within)

    def ratio(self) -> float:
        """Return the share of the good, 0 to 1."""
        good, bad = self.counts()
        return good / (good + bad) if good + bad else 1.0

    def problem(self) -> str | None:
        """Return a reason for attention, or None."""
        good, bad = self.counts()
        if good + bad < FEWEST or self.ratio() >= LEAST:
            return None
        return f"{bad} of the {good + bad} operations that ended within 5 minutes did not succeed"
