"""Measure many calls at a given concurrency, and summarise their times."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

from msgspec import Struct


class Sample(Struct, frozen=True, kw_only=True):
    """Milliseconds a call, and calls a second over all."""

    p50: float
    p99: float
    rate: float
    p95: float = 0.0


async def measure(call: Callable[[int], Awaitable[object]], in_flight: int, count: int) -> Sample:
    """Measure `count` calls, never more than `in_flight` at once."""
    began = time.perf_counter()
    times = await timed(call, in_flight, count)
    return summary(times, time.perf_counter() - began)


async def timed(call: Callable[[int], Awaitable[object]], in_flight: int, count: int) -> list[float]:
    """Return the seconds of each of `count` calls, never more than `in_flight` at once."""
    times: list[float] = []
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            began = time.perf_counter()
            await call(number)
            times.append(time.perf_counter() - began)

    await asyncio.gather(*(work() for _ in range(in_flight)))
    return times


def summary(times: list[float], elapsed: float) -> Sample:
    """Return the summary of these seconds a call, over `elapsed` seconds in all."""
    cuts = statistics.quantiles(times, n=100)
    p50, p95, p99 = (round(cuts[at - 1] * 1000, 3) for at in (50, 95, 99))
    return Sample(p50=p50, p95=p95, p99=p99, rate=round(len(times) / elapsed, 1))


async def pause(seconds: float) -> None:
    """Wait. The measured event needs this time, such as a pace or a bucket that fills."""
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, over.set)
    await over.wait()
