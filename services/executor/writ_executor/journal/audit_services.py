"""The state of audit by its own reports: its presence and its lag. Only for health, nobody waits for it. Soft state."""

from collections import deque
from collections.abc import Callable

from writ_contracts.history.audit import AuditStanding

SILENCE = 20.0
"""Seconds without a report of any audit service: three in a row got lost, or none is running."""
MOST_BEHIND = 1_000


class AuditServices:
    """Recent reports of each audit service. The most recent index answers queries; the slowest one limits archives."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: the boot clock."""
        self._clock = clock
        self._began = clock()
        self._heard: deque[tuple[float, AuditStanding]] = deque(maxlen=64)

    def record(self, standing: AuditStanding) -> None:
        """Take in a report."""
        self._heard.append((self._clock(), standing))

    @property
    def unheard(self) -> bool:
        """Return True while no report has arrived and too little time has passed to call it silence."""
        return not self._lately() and self._began >= self._clock() - SILENCE

    def problem(self) -> str | None:
        """Return a reason for attention, or None. Silence counts only after listening for long enough."""
        lags = [standing.lag for standing in self._lately()]
        if not lags:
            return None if self.unheard else f"no audit service has reported for {SILENCE:g} s"
        return f"audit is {min(lags)} events behind the journal" if min(lags) > MOST_BEHIND else None

    def position(self) -> int | None:
        """Return the last sequence read by every audit service with a recent report; None without one."""
        latest = {standing.instance: standing.position for standing in self._lately()}
        return min(latest.values(), default=None)

    def levels(self) -> dict[str, int]:
        """Return the level of messages of each audit service with a recent report, by its instance."""
        return {standing.instance: standing.level for standing in self._lately()}

    def _lately(self) -> list[AuditStanding]:
        since = self._clock() - SILENCE
        return [standing for at, standing in self._heard if at >= since]
