"""The pace at which one host may send progress and logs: beyond it, its channel is not read for a while.

Each frame costs the agent's event loop time that other targets need. Results do not count: each replies to a request.
"""

RATE, BURST = 64 * 1024, 512 * 1024
"""Bytes a second on average, and at once."""
FRAME_COST = 256
"""Bytes that a frame counts besides its own: a small one takes as long to read."""


class ChannelPace:
    """The debt of one channel. Times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._spent, self._at = 0.0, now

    def spend(self, size: int) -> None:
        """Count a frame of so many bytes."""
        self._spent += size + FRAME_COST

    def pause(self, now: float) -> float:
        """Return the seconds for which the channel should not be read; 0 for none."""
        self._spent = max(0.0, self._spent - (now - self._at) * RATE)
        self._at = now
        return max(0.0, (self._spent - BURST) / RATE)
