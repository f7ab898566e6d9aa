"""The server's time as a process measures it, and how wrong its host's own clock is."""

import asyncio
import math
import time

import pytest

from writ_bus.errors import Forbidden, Unreachable
from writ_runtime.clocks import BREAKS, DEGRADED, OLDEST, Clocks, ServerClock, boot_time, describe
from writ_runtime.health import Attention, Detail
from writ_runtime.metrics import Metrics
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus


class Setting:
    """A host and a server with clocks under control of the test."""

    def __init__(self) -> None:
        self.boot, self.wall, self.server = 1_000.0, 5_000.0, 5_000.0
        self.answers_after = 0.0
        self.failing: Exception | None = None
        self.reads = 0
        broker = Broker()
        broker.disk.clock = self._answer
        self.bus = MemoryBus(broker)
        self.clock = ServerClock(self.bus, Clocks(boot=lambda: self.boot, wall=lambda: self.wall))

    def _answer(self) -> float:
        self.reads += 1
        if self.failing is not None:
            raise self.failing
        self.passes(self.answers_after / 2)
        answer = self.server
        self.passes(self.answers_after / 2)
        return answer

    def passes(self, seconds: float) -> None:
        self.boot += seconds
        self.wall += seconds
        self.server += seconds


@pytest.fixture
def setting() -> Setting:
    return Setting()


def test_the_boot_clock_goes_on_in_suspend_where_there_is_one() -> None:
    assert abs(boot_time() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 1.0


async def test_the_servers_time_goes_on_with_the_boot_clock_and_not_with_the_hosts_own(setting: Setting) -> None:
    await setting.clock.measure()
    setting.passes(10.0)
    setting.wall += 86_400.0
    assert setting.clock.now() == pytest.approx(setting.server)
    assert setting.clock.skew == pytest.approx(86_400.0)


async def test_clock_measurement_subtracts_half_the_round_trip(setting: Setting) -> None:
    setting.answers_after = 0.4
    await setting.clock.measure()
    assert setting.clock.now() == pytest.approx(setting.server)
    assert setting.clock.skew == pytest.approx(0.0)


async def test_step_forward_counts_between_an_instant_before_it_and_one_after_it(setting: Setting) -> None:
    first = setting.server
    await setting.clock.measure()
    setting.passes(4.0)
    before, after = setting.server, setting.server + 3600.0
    setting.server = after
    setting.passes(1.0)
    await setting.clock.measure()
    for since, until, expected in (
        (first, before, 0.0),
        (before, after, 3600.0),
        (first - 9000.0, after + 60.0, 3600.0),
        (after, after + 7000.0, 0.0),
    ):
        assert setting.clock.set_forward(since, until) == pytest.approx(expected)
    setting.server -= 7200.0
    await setting.clock.measure()
    assert setting.clock.set_forward(before - 7200.0, before) == 0.0


async def test_a_slow_answer_does_not_replace_a_good_one_until_that_is_old(setting: Setting) -> None:
    await setting.clock.measure()
    setting.answers_after, setting.server = 1.5, setting.server + 1.0
    await setting.clock.measure()
    assert setting.clock.now() == pytest.approx(setting.server - 1.0)
    setting.passes(OLDEST)
    await setting.clock.measure()
    assert setting.clock.now() == pytest.approx(setting.server)


@pytest.mark.parametrize(
    ("skew", "kind"),
    [
        (0.0, Detail),
        (DEGRADED - 0.1, Detail),
        (DEGRADED, Attention),
        (-DEGRADED, Attention),
        (BREAKS - 0.1, Attention),
        (BREAKS, str),
        (-BREAKS, str),
        (-86_400.0, str),
    ],
)
async def test_skew_is_reported(setting: Setting, skew: float, kind: type[str]) -> None:
    await setting.clock.measure()
    setting.wall += skew
    assert type(await setting.clock.strict_check()) is kind
    assert type(await setting.clock.check()) is (kind if kind is not str else Attention)


async def test_clock_without_a_measurement_reports_it_and_returns_the_hosts_time(setting: Setting) -> None:
    setting.failing = Unreachable("nobody is there")
    await setting.clock.measure()
    assert setting.clock.now() == setting.wall
    problem = await setting.clock.check()
    assert type(problem) is str
    assert "nobody is there" in problem
    metrics = Metrics()
    setting.clock.shown(metrics)
    [line] = [one for one in metrics.exposition()[0].decode().splitlines() if one.startswith("writ_clock_skew_seconds")]
    assert math.isnan(float(line.split()[1]))


async def test_old_clock_measurement_is_used_and_no_longer_shown(setting: Setting) -> None:
    await setting.clock.measure()
    setting.failing = Unreachable("gone")
    setting.passes(OLDEST + 1)
    await setting.clock.measure()
    assert setting.clock.skew is None
    assert "gone" in (await setting.clock.check() or "")
    assert setting.clock.now() == pytest.approx(setting.server)


async def test_a_server_that_forbids_the_request_does_not_get_it_repeatedly(setting: Setting) -> None:
    setting.failing = Forbidden("no permission")
    await setting.clock.start()
    assert setting.reads == 1


async def test_server_time_is_requested_until_it_is_known(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    setting.failing = Unreachable("not yet")

    async def wait(_: float) -> None:
        setting.passes(1.0)
        setting.failing = None

    monkeypatch.setattr("writ_runtime.clocks.asyncio.sleep", wait)
    await setting.clock.start()
    assert setting.clock.skew == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("skew", "text"),
    [
        (0.0000148, "within 1 ms of"),
        (-0.00099, "within 1 ms of"),
        (0.0123, "12.3 ms ahead of"),
        (-0.5, "500 ms behind"),
        (3.04, "3.0 s ahead of"),
        (90.04, "1 min 30 s ahead of"),
        (-31_536_000.0, "8760 h 0 min behind"),
    ],
)
def test_skew_is_described_in_words(skew: float, text: str) -> None:
    assert describe(skew) == text


async def test_step_is_counted_once_though_an_earlier_measurement_ends_last(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Audit measures again before it reports a difference, beside the measurement every 5 s."""
    await setting.clock.measure()
    began, since = asyncio.get_running_loop().create_future(), setting.server

    async def wait_for_the_reply(*, timeout: float) -> float:
        assert timeout > 0
        return float(await began)

    with monkeypatch.context() as patch:
        patch.setattr(setting.bus, "server_time", wait_for_the_reply)
        early = asyncio.create_task(setting.clock.measure())
        await asyncio.sleep(0)
    before = setting.server
    setting.passes(0.2)
    setting.server += 3600.0
    await setting.clock.measure()
    began.set_result(before)
    await early
    await setting.clock.measure()
    assert setting.clock.set_forward(since, setting.server) == pytest.approx(3600.0)
