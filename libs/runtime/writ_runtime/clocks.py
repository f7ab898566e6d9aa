"""The clocks of a process, and the time of the NATS server.

Three clocks, each for its own use (docs/adr/0031):

boot    CLOCK_BOOTTIME. For periods within one process: nobody can set it, and it goes on in suspend.
server  The time of the journal's server, as measured over the bus. Instants in messages are on it.
wall    The host's own time. Shown to people, and compared with the server's for the skew. Decides nothing.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from math import inf

from msgspec import Struct, structs

from writ_bus.errors import Forbidden
from writ_bus.port import Bus
from writ_contracts.errors import WritError
from writ_runtime.durations import span
from writ_runtime.health import Attention, Detail
from writ_runtime.logs import Log
from writ_runtime.metrics import Metrics

DEGRADED = 2.0
"""Seconds of skew from which the health check `clock` fails."""
BREAKS = 60.0
"""Seconds of skew from which a service that judges by times of the day is not ready."""
EVERY = 5.0
FIRST_WITHIN = 5.0
ASK_SECONDS = 2.0
MEASURABLE = 0.001
"""Seconds below which the skew is not shown as a number: the round trip to the server takes about as long."""
SLOWEST = 0.5
"""A longer round trip (seconds) says too little of its middle."""
OLDEST = 60.0
"""Age in seconds after which even a slow measurement replaces the last one; without any the time counts as unknown."""
MOST_STEPS = 64
_log = Log("writ.clocks")


def boot_time() -> float:
    """Return seconds since boot, suspend included (clock_gettime(2)); where there is no such clock, monotonic ones."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)  # Linux only
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Clocks(Struct, frozen=True, kw_only=True):
    """The host's own clocks; tests replace them."""

    boot: Callable[[], float] = boot_time
    wall: Callable[[], float] = time.time


SYSTEM = Clocks()


class ClockMeasurement(Struct, frozen=True):
    """The server's clock (Unix seconds) at an instant of the boot clock, with an `error` in seconds."""

    server: float
    boot: float
    error: float


class ForwardStep(Struct, frozen=True):
    """The server's clock was set forward by `seconds`. No time by the clock that was set is before `began`, and none is
    after `ended`, when it was set back again.
    """

    began: float
    seconds: float
    ended: float = inf


class ServerClock:
    """The time of the journal's server. Between two measurements it advances with the boot clock.

    A step of the host's own clock does not move it. Until the first measurement it shows the host's time, and `problem`
    reports the server's time as unknown.
    """

    def __init__(self, bus: Bus | None, clocks: Clocks = SYSTEM) -> None:
        self._bus = bus
        self.clocks = clocks
        self._measured: ClockMeasurement | None = None
        self._forward: deque[ForwardStep] = deque(maxlen=MOST_STEPS)
        self._failure = "it was not requested yet"
        self._forbidden = False
        """True for permissions of an earlier release: each question that the server refuses is a security event."""

    def over(self, bus: Bus) -> None:
        """Send requests by this bus from now on."""
        self._bus = bus

    def now(self) -> float:
        """Return the server's time, in Unix seconds."""
        measured = self._measured
        if measured is None:
            return self.clocks.wall()
        return measured.server + self.clocks.boot() - measured.boot

    def set_forward(self, since: float, until: float) -> float:
        """Return the seconds by which the server's clock was set forward between two instants of its own, as far as
        this process has measured it. They have not passed: `until - since` counts them. An infinite `until` is now. One
        in the past that the clock showed twice is taken for the first of the two.
        """
        return sum(step.seconds for step in self._forward if since < step.began <= until <= step.ended)

    @property
    def skew(self) -> float | None:
        """Return the seconds by which the host's clock is ahead of the server's; None if unknown."""
        measured = self._measured
        if measured is None or self.clocks.boot() - measured.boot > OLDEST:
            return None
        return self.clocks.wall() - self.now()

    def notable_skew(self) -> float | None:
        """Return the skew if `check` reports it, else None."""
        skew = self.skew
        return None if skew is None or abs(skew) < DEGRADED else round(skew, 3)

    async def measure(self) -> None:
        """Measure the time once. A failure keeps the last measurement, and `check` reports it."""
        if self._bus is None:
            return
        began = self.clocks.boot()
        try:
            server = await self._bus.server_time(timeout=ASK_SECONDS)
        except WritError as error:
            self._failure, self._forbidden = str(error), isinstance(error, Forbidden)
            return
        ended = self.clocks.boot()
        self._accept(ClockMeasurement(server, (began + ended) / 2, (ended - began) / 2))

    def _accept(self, new: ClockMeasurement) -> None:
        known = self._measured
        if known is not None:
            passed = new.boot - known.boot
            if passed < 0 or (new.error > SLOWEST / 2 and passed < OLDEST):
                return
            step = new.server - (known.server + passed)
            if abs(step) > DEGRADED + new.error + known.error:
                _log.warning(
                    "clock.server_stepped", seconds=round(step, 3), effect="times in the journal step with this clock"
                )
                self._note(step, known.server + step, new.server - step)
        self._measured, self._forbidden = new, False

    def _note(self, step: float, began: float, ended: float) -> None:
        """Note a step to `began` at the earliest, from `ended` at the latest. One back undoes those before it."""
        if step > 0:
            self._forward.append(ForwardStep(began, step))
            return
        for at, one in enumerate(tuple(self._forward)):
            if one.ended == inf and one.began > began:
                self._forward[at] = structs.replace(one, ended=ended)
                if (rest := one.seconds - (one.began - began)) > 0:
                    self._forward.append(ForwardStep(began, rest))

    async def start(self) -> None:
        """Measure until the first success, for some seconds at most: without one the service starts, but is not
        ready.
        """
        give_up = self.clocks.boot() + FIRST_WITHIN
        await self.measure()
        while self._measured is None and not self._forbidden and self.clocks.boot() < give_up:
            await asyncio.sleep(0.2)
            await self.measure()

    async def follow(self) -> None:
        """Measure at an interval, until cancelled."""
        while True:
            await asyncio.sleep(OLDEST if self._forbidden else EVERY)
            await self.measure()

    def problem(self, breaks: float | None = None) -> str | None:
        """Return a problem of the host's or the server's clock for `/readyz`, or None.

        `breaks`: seconds of skew from which the service is not ready; None: it never depends on the host's clock.
        """
        skew = self.skew
        if skew is None:
            return f"the time of the NATS server is not known: {self._failure}"
        if abs(skew) < DEGRADED:
            return None
        detail = f"this host's clock is {describe(skew)} the NATS server's"
        return detail if breaks is not None and abs(skew) >= breaks else Attention(detail)

    async def check(self) -> str | None:
        """Check the clocks for a service which decides nothing by the host's clock."""
        return self.problem() or self._detail()

    async def strict_check(self) -> str | None:
        """Check the clocks for a service which is not ready while the two are far apart."""
        return self.problem(BREAKS) or self._detail()

    def _detail(self) -> Detail:
        return Detail(f"{describe(self.skew or 0.0)} the NATS server's")

    def shown(self, metrics: Metrics) -> None:
        """Export the skew in these metrics."""
        metrics.measure(
            "writ_clock_skew_seconds",
            "How far this host's clock is ahead of the NATS server's; NaN while that is not known.",
            lambda: float("nan") if self.skew is None else self.skew,
        )


def describe(skew: float) -> str:
    """Return the skew in words, as in `1.2 s ahead of`."""
    if abs(skew) < MEASURABLE:
        return f"within {span(MEASURABLE)} of"
    return f"{span(abs(skew))} {'ahead of' if skew >= 0 else 'behind'}"
