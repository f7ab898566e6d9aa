"""The clocks of a host of its own, within this process: a test sets them, as NTP, suspend and people do."""

import time

from writ_runtime.clocks import Clocks, boot_time


class Host:
    """`wall` and `boot` are added to what the real clocks show, in seconds."""

    def __init__(self, *, wall: float = 0.0, boot: float = 0.0) -> None:
        self.wall = wall
        self.boot = boot

    @property
    def clocks(self) -> Clocks:
        """What a process on that host is given."""
        return Clocks(boot=lambda: boot_time() + self.boot, wall=lambda: time.time() + self.wall)

    def step(self, seconds: float) -> None:
        """The host's own time is set."""
        self.wall += seconds

    def suspend(self, seconds: float) -> None:
        """It slept: the boot clock went on, and its own time was set right when it woke."""
        self.boot += seconds
