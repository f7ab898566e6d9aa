"""Memory of the services that read the inventory, and the waits while they read a large one again.

`python -m bench memory`: the inventory of a working installation grows from 100 targets to 10,000 and is then edited
three times more; at last the services are killed and start with 10,000. Beside each edit operations go on, one after
the other, and the health of each service is requested without a pause.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec import Struct

from bench.end_to_end import ENVIRON, Requester, resident
from bench.growth import again, entries
from bench.scale import connected
from bench.timing import measure, pause
from writ_documents import yaml_file
from writ_installation.processes.readiness import read_run_file
from writ_testing.installations.installation import RunningInstallation, prepare, running_installation

READERS = ("policy", "executor")
FEW, MANY, EDITS = 100, 10_000, 3
OPERATIONS = 200
SECONDS = 5.0
"""Seconds after which every service has noticed and read its files."""
HEARD_EVERY = 0.002


class Waits(Struct, frozen=True, kw_only=True):
    """The longest waits in ms: of operations from request to end, and of a service's replies to health requests."""

    operation: float
    alive: dict[str, float]


class Remembered(Struct, frozen=True, kw_only=True):
    """MB of each process after each file that it read, and the longest waits without a read and at each edit."""

    memory: dict[str, dict[str, float]]
    quiet: Waits
    edits: list[Waits]


async def run() -> Remembered:
    """Run all measurements on one installation."""
    memory: dict[str, dict[str, float]] = {}
    edits: list[Waits] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        home = prepare(folder, targets=entries(FEW, folder))
        async with running_installation(folder, home=home, environ=ENVIRON) as installation:
            bus, requester = await connected(installation)
            await measure(requester.noop, 8, OPERATIONS)
            memory[f"{FEW} targets"] = resident(installation)
            quiet = await _waits(installation, requester)
            for edit in range(EDITS + 1):
                text = yaml_file.dump({"targets": entries(MANY + edit, folder)})
                _replace(home.inventory, text)
                edits.append(await _waits(installation, requester))
                await requester.ask("test_noop", f"web-{MANY + edit - 1}", {})
                said = f"edited again, {edit}" if edit else f"{MANY:,} that came at work"
                memory[said] = resident(installation)
            for one in READERS:
                await again(installation, one)
            await measure(requester.noop, 8, OPERATIONS)
            memory[f"started with {MANY:,}"] = resident(installation)
            await bus.close()
    return Remembered(memory=memory, quiet=quiet, edits=edits)


def _replace(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(path)


async def _waits(installation: RunningInstallation, requester: Requester) -> Waits:
    """Return the longest waits within the time in which the files are read."""
    end = time.perf_counter() + SECONDS
    asked: list[Callable[[], Awaitable[object]]] = [lambda: requester.noop(0)]
    asked += [_alive(installation, one) for one in READERS]
    operation, *alive = await asyncio.gather(*(_longest(ask, end) for ask in asked))
    return Waits(operation=operation, alive=dict(zip(READERS, alive, strict=True)))


async def _longest(ask: Callable[[], Awaitable[object]], end: float) -> float:
    longest = 0.0
    while (began := time.perf_counter()) < end:
        await ask()
        longest = max(longest, time.perf_counter() - began)
        await pause(HEARD_EVERY)
    return round(longest * 1000, 1)


def _alive(installation: RunningInstallation, name: str) -> Callable[[], Awaitable[object]]:
    found = read_run_file(installation.home.run / f"{name}.json", installation.pid(name))
    assert found is not None

    async def ask() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", found.health_port)
        writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert b" 200 " in await reader.readline()
        writer.close()

    return ask


def table(found: Remembered) -> str:
    """Return the table as Markdown."""
    lines = [f"| RSS, MB | {' | '.join(READERS)} |", f"|---|{'--:|' * len(READERS)}"]
    for said, memory in found.memory.items():
        lines.append(f"| {said} | {' | '.join(str(memory[one]) for one in READERS)} |")
    names = " | ".join(f"{one} is alive" for one in READERS)
    lines += ["", f"| the longest, ms | an operation | {names} |", f"|---|--:|{'--:|' * len(READERS)}"]
    waits = {"nothing is read": found.quiet}
    waits |= {f"{MANY:,} targets are read, {number}": one for number, one in enumerate(found.edits, 1)}
    for said, one in waits.items():
        lines.append(f"| {said} | {one.operation} | {' | '.join(str(one.alive[name]) for name in READERS)} |")
    return "\n".join(lines)
