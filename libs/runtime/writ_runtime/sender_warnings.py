"""Warnings that a sender can cause by each of its messages: a few at once, then one a minute."""

import time
from collections import Counter
from collections.abc import Callable

from writ_runtime.buckets import Buckets
from writ_runtime.logs import Log

RATE, BURST = 1 / 60, 10.0
"""Lines of one event and sender, a second on average and at once. The key of an agent caused 4,000 lines a second."""


class SenderWarnings:
    """Logs warnings by event and sender. A line has the number of those left out before it, as `left_out`."""

    def __init__(self, log: Log, clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._buckets = Buckets(RATE, BURST)
        self._left_out = Counter[tuple[str, str]]()

    def warning(self, event: str, sender: str, **fields: object) -> None:
        """Log a warning, or count it. `sender`: a pool or another name that NATS verified, so that there are few."""
        if not self._buckets.take(f"{event} {sender}", self._clock()):
            self._left_out[event, sender] += 1
            return
        left_out = self._left_out.pop((event, sender), 0)
        self._log.warning(event, sender=sender, **fields, **({"left_out": left_out} if left_out else {}))
