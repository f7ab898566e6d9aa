"""A million real operations in one installation: latency by 100,000, memory of the services, their starts afterwards.

`python -m bench million`: once, it takes hours. `BENCH_OPERATIONS` is another number (1,000,000), `BENCH_FOLDER` the
place of the installation (`million` in the temporary folder): a run that was stopped goes on there. Needs 30 GB.
"""

import os
import tempfile
from pathlib import Path

import msgspec
from msgspec import Struct

from bench.end_to_end import ENVIRON, resident
from bench.growth import again
from bench.scale import connected
from bench.timing import Sample, measure
from writ_installation.files.home import Home
from writ_nats_server.streams import Sizes
from writ_testing.installations.installation import RunningInstallation, prepare, running_installation

STEPS = 10
IN_FLIGHT = 32
MEASURED = 400
"""Operations one after the other, after each step."""
JOURNAL = 24 << 30
"""More than twice what is written (9.2 kB an operation): from half full on, one principal has a tenth of it."""


class Step(Struct, frozen=True, kw_only=True):
    """What was measured after so many operations."""

    operations: int
    under_load: Sample
    alone: Sample
    memory: dict[str, float]
    bytes: int


class Million(Struct, kw_only=True):
    """What is known so far; it is kept beside the installation. `starts`: seconds from a kill to ready."""

    steps: list[Step] = []
    starts: dict[str, float] = {}


async def run() -> Million:
    """Go on from where the last run ended."""
    total = int(os.environ.get("BENCH_OPERATIONS", "1000000"))
    folder = Path(os.environ.get("BENCH_FOLDER") or Path(tempfile.gettempdir()) / "million")
    home, kept = _home(folder), folder / "million.json"
    found = msgspec.json.decode(kept.read_bytes(), type=Million) if kept.exists() else Million()
    async with running_installation(folder, home=home, environ=ENVIRON) as installation:
        for number in range(len(found.steps), STEPS):
            found.steps.append(await _step(installation, total // STEPS, total * (number + 1) // STEPS))
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
    home = prepare(folder)
    home.sizes.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.sizes.write_bytes(msgspec.json.encode(Sizes(journal=JOURNAL)))
    return home


async def _step(installation: RunningInstallation, count: int, operations: int) -> Step:
    bus, requester = await connected(installation)
    try:
        under_load = await measure(requester.noop, IN_FLIGHT, count - MEASURED)
        alone = await measure(requester.noop, 1, MEASURED)
    finally:
        await bus.close()
    stored = sum(path.stat().st_size for path in installation.home.store.rglob("*") if path.is_file())
    return Step(operations=operations, under_load=under_load, alone=alone, memory=resident(installation), bytes=stored)


def _keep(kept: Path, found: Million) -> None:
    draft = kept.with_suffix(".draft")
    draft.write_bytes(msgspec.json.encode(found))
    draft.replace(kept)


def _row(one: Step) -> str:
    memory = ", ".join(f"{name} {size:.0f}" for name, size in one.memory.items())
    times = f"{one.alone.p50} | {one.alone.p99} | {one.under_load.p50} | {one.under_load.rate}"
    return f"| {one.operations:,} | {times} | {one.bytes / 1e9:.2f} | {memory} |"


def table(found: Million) -> str:
    """As Markdown."""
    lines = [
        f"| operations | one in flight: p50 ms | p99 ms | {IN_FLIGHT} in flight: p50 ms | a second | GB | MB of each |",
        "|--:|--:|--:|--:|--:|--:|---|",
        *map(_row, found.steps),
        "",
        "| killed, then ready after | s |",
        "|---|--:|",
    ]
    return "\n".join([*lines, *(f"| {name} | {seconds:.2f} |" for name, seconds in found.starts.items())])
