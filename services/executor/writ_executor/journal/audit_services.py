"""Whether audit is there and keeps up, as it says itself. Nobody waits for it: this is only told. Soft state."""

from collections import deque
from collections.abc import Callable

from writ_contracts.audit import AuditStanding

SILENCE = 20.0
"""Seconds without a word of any audit service: three in a row got lost, or there is none."""
MOST_BEHIND = 1_000


class AuditServices:
    """What was heard lately of each audit service. The best one answers; what none may miss the last one says."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: the boot clock."""
        self._clock = clock
        self._began = clock()
        self._heard: deque[tuple[float, AuditStanding]] = deque(maxlen=64)

    def record(self, standing: AuditStanding) -> None:
        """Take in one word."""
        self._heard.append((self._clock(), standing))

    @property
    def unheard(self) -> bool:
        """Whether nothing was heard yet, and too little time has gone by to call that silence."""
        return not self._lately() and self._began >= self._clock() - SILENCE

    def problem(self) -> str | None:
        """Why somebody should look, if so; silence says nothing before we have listened for long enough."""
        lags = [standing.lag for standing in self._lately()]
        if not lags:
            return None if self.unheard else f"no audit service was heard for {SILENCE:g} s"
        return f"audit is {min(lags)} events behind the journal" if min(lags) > MOST_BEHIND else None

    def position(self) -> int | None:
        """The last sequence that every one of them has read; None where none was heard lately."""
        latest = {standing.instance: standing.position for standing in self._lately()}
        return min(latest.values(), default=None)

    def _lately(self) -> list[AuditStanding]:
        since = self._clock() - SILENCE
        return [standing for at, standing in self._heard if at >= since]
