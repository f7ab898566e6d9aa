"""More agents and more executors: operations a second, and the time until a new agent gets its first one.

`python -m bench scale`: target-bound work is `test_count`, which first waits for a fifth of a second, on 64 targets
with 4 slots an agent. Work bound by executors is `test_noop` with 64 in flight.
"""

import asyncio
import tempfile
import time
from pathlib import Path

from msgspec import Struct, json

from bench.end_to_end import ENVIRON, PRINCIPAL, Requester
from bench.timing import Sample, measure
from writ_bus.port import Bus, Message
from writ_client.context import Context, open_bus
from writ_testing.installations.extra_agents import more_agents
from writ_testing.installations.installation import RunningInstallation, local_target, prepare, running_installation

AGENTS, EXECUTORS = (1, 2, 4), (1, 2)
SLOTS, DELAY = 4, 0.2
TARGETS = [f"web-{number}" for number in range(64)]
WORK = 6.0
"""Seconds of work if all slots were always in use."""
NOOPS = 2_500
SETTINGS = {**ENVIRON, "WRIT_SLOTS": str(SLOTS), "WRIT_HEARTBEAT": "1"}


class Scaled(Struct, frozen=True, kw_only=True):
    """The figures by number of agents and of executors; `added` is from an agent's start to its first operation, s."""

    agents: dict[int, Sample]
    executors: dict[int, Sample]
    added: float


async def connected(installation: RunningInstallation) -> tuple[Bus, Requester]:
    """Return a requester for the installation's operator."""
    seed = installation.home.key(f"principal-{PRINCIPAL}").seed
    bus = await open_bus(Context(principal=PRINCIPAL, url=installation.url), seed, wait=10)
    requester = Requester(bus)
    await requester.listen()
    return bus, requester


async def run() -> Scaled:
    """Return all figures."""
    agents: dict[int, Sample] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "files"
        home = prepare(Path(folder), targets=[local_target(name, files) for name in TARGETS])
        async with running_installation(Path(folder), home=home, environ=SETTINGS) as installation:
            bus, requester = await connected(installation)
            for number in AGENTS:
                async with more_agents(installation, number - 1, SETTINGS):
                    agents[number] = await _count(requester, files, number)
            added = await _added(installation, bus, requester, files)
            await bus.close()
    return Scaled(agents=agents, executors={number: await _noops(number) for number in EXECUTORS}, added=added)


async def _count(requester: Requester, files: Path, agents: int) -> Sample:
    async def one(number: int) -> None:
        path = str(files / f"counted-{agents}-{number}")
        await requester.ask("test_count", TARGETS[number % len(TARGETS)], {"path": path, "delay": DELAY})

    return await measure(one, len(TARGETS), int(agents * SLOTS * WORK / DELAY))


async def _added(installation: RunningInstallation, bus: Bus, requester: Requester, files: Path) -> float:
    """Return the seconds until an added agent has its first operation, while the first agent has twice its capacity to
    do.
    """
    seen: dict[str, float] = {}

    async def began(message: Message) -> None:
        seen.setdefault(json.decode(message.data)["instance"], time.perf_counter())

    await bus.subscribe(f"writ.event.op.{PRINCIPAL}.*.granted", began)
    work = asyncio.create_task(_count(requester, files, 2))
    while not seen:
        await asyncio.wait({work}, timeout=0.01)
    at = time.perf_counter()
    async with more_agents(installation, 1, SETTINGS):
        await work
    return max(seen.values()) - at


async def _noops(executors: int) -> Sample:
    with tempfile.TemporaryDirectory() as folder:
        async with running_installation(Path(folder), executors=executors, environ=ENVIRON) as installation:
            bus, requester = await connected(installation)
            await measure(requester.noop, 8, 200)  # warm
            found = await measure(requester.noop, 64, NOOPS)
            await bus.close()
    return found


def table(found: Scaled) -> str:
    """Return the table as Markdown."""
    lines = ["| agents, target-bound work | operations a second | of what their slots allow |", "|--:|--:|--:|"]
    for number, sample in found.agents.items():
        lines.append(f"| {number} | {sample.rate} | {sample.rate / (number * SLOTS / DELAY):.0%} |")
    lines += [
        "",
        "| executors, `test_noop`, 64 in flight | operations a second | p50 ms | p99 ms |",
        "|--:|--:|--:|--:|",
    ]
    lines += [f"| {number} | {one.rate} | {one.p50} | {one.p99} |" for number, one in found.executors.items()]
    return "\n".join(
        [*lines, "", f"An agent that is added has its first operation {found.added:.2f} s after its start."]
    )
