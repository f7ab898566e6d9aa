"""A million real operations in one installation: latency by 100,000, memory of the services, their starts afterwards.

`python -m bench million`: once, it takes an hour or two. `BENCH_OPERATIONS` is another number (1,000,000),
`BENCH_FOLDER` the place of the installation (`million` in the temporary folder): a run that was stopped goes on there,
and does at most a thousandth again. Needs 30 GB.
"""

import asyncio
import os
import tempfile
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.end_to_end import ENVIRON, Requester
from bench.generator import Generator
from bench.growth import again
from bench.scale import connected
from bench.timing import Sample, measure, summary
from writ_client.context import Context, open_bus
from writ_installation.files.home import Home
from writ_nats_server.streams import Sizes
from writ_testing.installations.installation import RunningInstallation, prepare, running_installation

LOAD = "load"
"""The principal of the load. The measured operations are the operator's."""
STEPS, CHUNKS = 10, 100
IN_FLIGHT = 64
MEASURED = 400
"""Operations measured one after the other, after each step."""
JOURNAL = 24 << 30
"""Bytes of the journal: more than twice what is written (9.2 kB an operation), since one principal may write only a
tenth of it from half full on.
"""
TICKS = os.sysconf("SC_CLK_TCK")


class Step(Struct, frozen=True, kw_only=True):
    """The figures after so many operations.

    `under_load`: one operation after the other beside the load, whose rate it has. `generator`: the share of processor
    time that the load generator took.
    """

    operations: int
    under_load: Sample
    alone: Sample
    memory: dict[str, tuple[float, float]]
    """MB of each process: its own pages now, and its peak resident size."""
    bytes: int
    generator: float


class Chunk(Struct, frozen=True, kw_only=True):
    """A part of a step: seconds of the single operations beside the load, of all, and of the processor."""

    probes: list[float]
    elapsed: float
    operations: int
    generator: float
    processes: float


class Million(Struct, kw_only=True):
    """The results so far, stored beside the installation. `starts`: seconds from a kill to ready."""

    steps: list[Step] = []
    chunks: list[Chunk] = []
    """The parts of the current step."""
    starts: dict[str, float] = {}


async def run() -> Million:
    """Continue where the last run ended."""
    total = int(os.environ.get("BENCH_OPERATIONS", "1000000"))
    folder = Path(os.environ.get("BENCH_FOLDER") or Path(tempfile.gettempdir()) / "million")
    home, kept = _home(folder), folder / "million.json"
    found = msgspec.json.decode(kept.read_bytes(), type=Million) if kept.exists() else Million()
    async with running_installation(folder, home=home, environ=ENVIRON) as installation:
        while len(found.steps) < STEPS:
            while len(found.chunks) < CHUNKS:
                found.chunks.append(await _chunk(installation, total // STEPS // CHUNKS))
                _keep(kept, found)
            operations = total * (len(found.steps) + 1) // STEPS
            found.steps.append(await _step(installation, operations, found.chunks))
            found.chunks = []
            _keep(kept, found)
            print(_row(found.steps[-1]), flush=True)
        if not found.starts:
            found.starts = {one.name: await again(installation, one.name) for one in installation.report.processes}
            _keep(kept, found)
    return found


def _home(folder: Path) -> Home:
    if (folder / "home").exists():
        return Home(folder / "home")
    folder.mkdir(parents=True, exist_ok=True)
    home = prepare(folder, principals=[(LOAD, {})])
    home.sizes.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.sizes.write_bytes(msgspec.json.encode(Sizes(journal=JOURNAL)))
    return home


async def _chunk(installation: RunningInstallation, count: int) -> Chunk:
    """Run load on a connection of its own, and measure single operations beside it on another."""
    seed = installation.home.seed_file(f"principal-{LOAD}").read_bytes()
    load = await open_bus(Context(principal=LOAD, url=installation.url), seed, wait=10)
    probe, requester = await connected(installation)
    try:
        return await _measured(installation, Generator(load, LOAD, IN_FLIGHT), requester, count)
    finally:
        await load.close()
        await probe.close()


async def _measured(installation: RunningInstallation, load: Generator, requester: Requester, count: int) -> Chunk:
    await load.listen()
    own, others, began = time.process_time(), _processor(installation), time.perf_counter()
    work = asyncio.create_task(load.run(count))
    probes = list[float]()
    while not work.done():
        at = time.perf_counter()
        await requester.noop(0)
        probes.append(time.perf_counter() - at)
    await work
    return Chunk(
        probes=probes,
        elapsed=time.perf_counter() - began,
        operations=count + len(probes),
        generator=time.process_time() - own,
        processes=_processor(installation) - others,
    )


async def _step(installation: RunningInstallation, operations: int, chunks: list[Chunk]) -> Step:
    bus, requester = await connected(installation)
    try:
        alone = await measure(requester.noop, 1, MEASURED)
    finally:
        await bus.close()
    elapsed, done = sum(one.elapsed for one in chunks), sum(one.operations for one in chunks)
    under_load = summary([seconds for one in chunks for seconds in one.probes], elapsed)
    own, others = sum(one.generator for one in chunks), sum(one.processes for one in chunks)
    stored = sum(path.stat().st_size for path in installation.home.store.rglob("*") if path.is_file())
    return Step(
        operations=operations,
        under_load=msgspec.structs.replace(under_load, rate=round(done / elapsed, 1)),
        alone=alone,
        memory=_memory(installation),
        bytes=stored,
        generator=own / (own + others),
    )


def _processor(installation: RunningInstallation) -> float:
    """Return the seconds of processor time of all processes, with children that ended (proc(5))."""
    found = 0
    for one in installation.report.processes:
        fields = Path(f"/proc/{one.pid}/stat").read_text().rpartition(")")[2].split()
        found += sum(map(int, fields[11:15]))
    return found / TICKS


def _memory(installation: RunningInstallation) -> dict[str, tuple[float, float]]:
    """Return MB of each process: anonymous pages, which it shares with none, and its peak resident size (proc(5))."""
    found = {}
    for one in installation.report.processes:
        lines = Path(f"/proc/{one.pid}/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines)
        own, peak = (int(status[name].split()[0]) * 1024 / 1e6 for name in ("RssAnon", "VmHWM"))
        found[one.name] = (round(own, 1), round(peak, 1))
    return found


def _keep(kept: Path, found: Million) -> None:
    draft = kept.with_suffix(".draft")
    draft.write_bytes(msgspec.json.encode(found))
    draft.replace(kept)


def _row(one: Step) -> str:
    memory = ", ".join(f"{name} {own:.0f} ({peak:.0f})" for name, (own, peak) in one.memory.items())
    times = f"{one.alone.p50} | {one.alone.p99} | {one.under_load.p50} | {one.under_load.p99} | {one.under_load.rate}"
    return f"| {one.operations:,} | {times} | {one.generator:.0%} | {one.bytes / 1e9:.2f} | {memory} |"


def table(found: Million) -> str:
    """Return the table as Markdown."""
    beside = f"beside {IN_FLIGHT} in flight: p50 ms"
    lines = [
        f"| operations | alone: p50 ms | p99 ms | {beside} | p99 ms | a second | generator | GB | MB of each (peak) |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|---|",
        *map(_row, found.steps),
        "",
        "| killed, then ready after | s |",
        "|---|--:|",
    ]
    return "\n".join([*lines, *(f"| {name} | {seconds:.2f} |" for name, seconds in found.starts.items())])
