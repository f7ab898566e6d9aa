"""Measure growth: latency with targets and with the journal, the start of each service with 1,000,000 events, memory,
and the time from nothing to the first operation.

`python -m bench growth`
"""

import os
import signal
import tempfile
import time
from pathlib import Path

from msgspec import Struct

from bench import history
from bench.end_to_end import ENVIRON, resident
from bench.scale import connected
from bench.timing import Sample, measure
from writ_documents import yaml_file
from writ_installation.files.home import Home, host_token
from writ_installation.processes.child import FIRST_PAUSE
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, local_target, prepare, running_installation

TARGETS = (100, 10_000)
OPERATIONS = (100, 100_000, 250_000)
"""Recorded operations, of four events each."""
COUNT = 400
MEASURED = 200
"""Measured operations and those for warming up are recorded too."""


class Grown(Struct, frozen=True, kw_only=True):
    """Latency by operations on record and by targets; seconds from a kill to ready, and memory, by service."""

    operations: dict[int, Sample]
    targets: dict[int, Sample]
    starts: dict[str, float]
    memory: dict[str, float]
    first: dict[str, float]
    events: int


async def run() -> Grown:
    """Run all measurements on one installation that grows."""
    operations: dict[int, Sample] = {}
    targets: dict[int, Sample] = {}
    starts, memory = dict[str, float](), dict[str, float]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = await first_operation(folder)
        home = prepare(folder, targets=entries(TARGETS[0], folder))
        written = 0
        for number in OPERATIONS:
            await history.write(home, folder, written, number)
            written = number
            async with running_installation(folder, home=home, environ=ENVIRON) as installation:
                operations[number] = await _latency(installation)
                if number == OPERATIONS[-1]:
                    targets = {
                        TARGETS[0]: operations[number],
                        TARGETS[1]: await _with_more_targets(installation, folder),
                    }
                    memory = resident(installation)
                    starts = {one.name: await again(installation, one.name) for one in installation.report.processes}
    return Grown(
        operations=operations,
        targets=targets,
        starts=starts,
        memory=memory,
        first=first,
        events=written * history.EACH,
    )


def entries(number: int, folder: Path) -> list[dict[str, object]]:
    """Return so many entries of an inventory."""
    return [local_target(f"web-{at}", folder / "files") for at in range(number)]


async def _latency(installation: RunningInstallation) -> Sample:
    bus, requester = await connected(installation)
    await measure(requester.noop, 1, MEASURED)  # warm
    found = await measure(requester.noop, 1, COUNT)
    await bus.close()
    return found


async def _with_more_targets(installation: RunningInstallation, folder: Path) -> Sample:
    installation.home.inventory.write_text(yaml_file.dump({"targets": entries(TARGETS[1], folder)}))
    await _latency(installation)  # all services have read them by then
    return await _latency(installation)


async def again(installation: RunningInstallation, name: str) -> float:
    """Return the seconds from the kill of a service until it is ready again, without the supervisor's pause."""
    pid, began = installation.pid(name), time.perf_counter()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await installation.until(name, other_than=pid, within=120)
    elapsed = time.perf_counter() - began - FIRST_PAUSE
    await eventually(lambda: _well(installation), within=120, what="an installation that is ready")
    return elapsed


async def _well(installation: RunningInstallation) -> bool:
    return (await installation.writ("status")).status == 0


async def first_operation(folder: Path) -> dict[str, float]:
    """Return the seconds from an empty folder until `writ up` is ready, and until the command has shown its first
    outcome.
    """
    installation = RunningInstallation(Home(folder / "nothing"), {}, [])
    installation.home.make_folders()
    began = time.perf_counter()
    await installation.start()
    ready = time.perf_counter() - began
    done = await installation.writ("run", "network_status", "--target", host_token())
    outcome = time.perf_counter() - began
    await installation.stop()
    if done.status != 0:
        raise SystemExit(f"the first operation did not succeed: {done}")
    return {"ready": ready, "first outcome": outcome}


def table(found: Grown) -> str:
    """Return the table as Markdown."""
    lines = ["| `test_noop`, one in flight | p50 ms | p99 ms | × the first |", "|---|--:|--:|--:|"]
    for what, samples in (("operations on record", found.operations), ("targets", found.targets)):
        least = samples[min(samples)].p50
        for number, one in samples.items():
            lines.append(f"| {number:,} {what} | {one.p50} | {one.p99} | {one.p50 / least:.2f} |")
    most = f"{max(found.targets):,} targets"
    lines += ["", f"| with {found.events:,} events, {most} | killed, then ready after s | RSS MB |", "|---|--:|--:|"]
    lines += [f"| {name} | {seconds:.2f} | {found.memory[name]} |" for name, seconds in found.starts.items()]
    first = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found.first.items())
    return "\n".join([*lines, "", f"From an empty folder: {first}."])
