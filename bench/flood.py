"""Measure a flood by one principal: how soon it is refused, and the latency of another principal's operations
meanwhile.

`python -m bench flood`: the flood comes from a separate process on the same two cores, at 20 times its rate, and as
fast as 256 requests in flight go.
"""

import asyncio
import multiprocessing
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop
from msgspec import Struct, json

from bench.end_to_end import PRINCIPAL, Requester
from bench.timing import Sample, measure, pause, summary, timed
from writ_bus.port import Bus
from writ_client.context import Context, open_bus
from writ_contracts import subjects
from writ_contracts.requests import RequestReply
from writ_testing.installations.installation import RunningInstallation, prepare, running_installation

FLOODER = "mallory"
SECONDS = 8.0
OPERATIONS = 250
ROUNDS = 3
"""Rounds of all kinds in turn, since a machine's speed differs from minute to minute."""
BAR = 3.0
"""The bar: another principal's p95 is at most this many times its p95 without a flood."""
IN_FLIGHT = 256
ENVIRON = {"WRIT_LOG_LEVEL": "error"}
PACES = {"at 2,000 a second": 2_000, "as fast as it goes": 0}
"""Requests a second; 0: the next request as soon as one was replied to."""


class Flood(Struct, frozen=True, kw_only=True):
    """The result of a flood: replies by code, and the times of those refused by the rate limit."""

    codes: dict[str, int]
    refused: Sample | None
    message: str


class Flooder:
    """Sends requests without a pause."""

    def __init__(self, bus: Bus, pace: int) -> None:
        self._bus, self._pace = bus, pace
        self._codes: Counter[str] = Counter()
        self._times: list[float] = []
        self._message = ""

    async def run(self, seconds: float) -> Flood:
        """Send requests for so many seconds."""
        began = time.perf_counter()
        await asyncio.gather(*(self._ask(began, number, began + seconds) for number in range(IN_FLIGHT)))
        elapsed = time.perf_counter() - began
        refused = summary(self._times, elapsed) if len(self._times) > 1 else None
        return Flood(codes=dict(self._codes), refused=refused, message=self._message)

    async def _ask(self, began: float, number: int, end: float) -> None:
        while time.perf_counter() < end:
            if self._pace:
                await pause(max(0.0, began + number / self._pace - time.perf_counter()))
                number += IN_FLIGHT
            sent = time.perf_counter()
            data = await self._bus.request(subjects.request(FLOODER, "test_noop"), b'{"target":"web-1"}', timeout=30)
            answer = json.decode(data.data, type=RequestReply)
            code = answer.error.code if answer.error else "accepted"
            self._codes[code] += 1
            if code == "rate_limited" and answer.error:
                self._times.append(time.perf_counter() - sent)
                self._message = answer.error.message


def _flood(url: str, seed: bytes, pace: int, connection: Connection) -> None:
    """Send a flood from a separate process, like a foreign client."""

    async def flood() -> None:
        bus = await open_bus(Context(principal=FLOODER, url=url), seed, wait=10)
        connection.send(b"ready")
        connection.send(json.encode(await Flooder(bus, pace).run(SECONDS)))

    uvloop.run(flood())


async def _under(installation: RunningInstallation, requester: Requester, pace: int) -> tuple[list[float], Flood]:
    ours, theirs = multiprocessing.Pipe()
    seed = installation.home.key(f"principal-{FLOODER}").seed
    process = multiprocessing.get_context("spawn").Process(target=_flood, args=(installation.url, seed, pace, theirs))
    process.start()
    await asyncio.to_thread(ours.recv)
    await pause(1.0)  # the burst is used up
    during = await timed(requester.noop, 1, OPERATIONS)
    flood = json.decode(await asyncio.to_thread(ours.recv), type=Flood)
    await asyncio.to_thread(process.join)
    return during, flood


async def run() -> dict[str, tuple[Sample, Flood | None]]:
    """Measure the other principal's operations, alone and beside each flood."""
    ours: dict[str, list[float]] = {name: [] for name in ("alone", *PACES)}
    floods: dict[str, Flood] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = prepare(Path(folder), principals=[(FLOODER, {})])
        async with running_installation(Path(folder), home=home, environ=ENVIRON) as installation:
            seed = home.key(f"principal-{PRINCIPAL}").seed
            bus = await open_bus(Context(principal=PRINCIPAL, url=installation.url), seed, wait=10)
            requester = Requester(bus)
            await requester.listen()
            await measure(requester.noop, 1, 100)  # warm
            for _ in range(ROUNDS):
                await pause(5.0)  # the buckets are full again
                ours["alone"] += await timed(requester.noop, 1, OPERATIONS)
                for name, pace in PACES.items():
                    await pause(5.0)
                    times, floods[name] = await _under(installation, requester, pace)
                    ours[name] += times
            await bus.close()
    return {name: (summary(times, sum(times)), floods.get(name)) for name, times in ours.items()}


def table(found: dict[str, tuple[Sample, Flood | None]]) -> str:
    """Return the table as Markdown."""
    alone = found["alone"][0]
    lines = [
        "| a flood by another | a second | refused p50 ms | p99 ms | ours p50 ms | p95 ms | p99 ms | p95 × alone |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, (ours, flood) in found.items():
        refused = flood.refused if flood else None
        theirs = (
            f"{sum(flood.codes.values()) / SECONDS:,.0f} | {refused.p50} | {refused.p99}"
            if refused and flood
            else "– | – | –"
        )
        lines.append(f"| {name} | {theirs} | {ours.p50} | {ours.p95} | {ours.p99} | {ours.p95 / alone.p95:.2f} |")
    said = next((flood.message for _, flood in found.values() if flood), "")
    return "\n".join([*lines, "", f"Bar: {BAR:g} × alone. The other gets the error: {said}"])
