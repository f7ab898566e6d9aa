"""Inspect, restart and a deploy of five services beside Docker's command lines, in one run on one engine: `python -m
bench docker`.

BENCH_DOCKER_SOCKET names the engine's socket, BENCH_DOCKER_IMAGE an image on it whose containers stay up.
"""

import asyncio
import os
import shutil
import tempfile
import time
from asyncio.subprocess import DEVNULL
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

from aiodocker import Docker
from msgspec import Struct

from bench.end_to_end import ENVIRON, PRINCIPAL, Requester
from bench.timing import Sample, measure
from writ_agent.backends.port import Task
from writ_agent_docker.backend import DockerBackend
from writ_client.context import Context, open_bus
from writ_contracts.ids import encode_id
from writ_contracts.inventory import Target
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.installations.installation import RunningInstallation, prepare, running_installation

AGAIN, STACK = "writ-bench-again", "writ-bench-stack"
CALLS, PROCESSES, ROUNDS = 150, 20, 5
"""Calls in a round, and rounds. The round with the best p50 counts."""
CONTAINER, NAME = "writ-bench", "container_inspect"
RESTARTS, DEPLOYS, SERVICES = 10, 8, 5
Call = Callable[[int], Awaitable[object]]
INSPECT = load_catalogue()[NAME]


class Row(Struct, frozen=True):
    """A measured call, and how often it runs in a round. `processor`: seconds of processor time used so far."""

    call: Call
    count: int
    processor: Callable[[], float]


class Inspects(Struct, frozen=True):
    """Milliseconds a call: of the round with the best p50; of processor time the median of all rounds."""

    p50: float
    p99: float
    processor: float


async def run() -> dict[str, object]:
    """Return all figures."""
    socket = os.environ["BENCH_DOCKER_SOCKET"]
    await docker(socket, "run", "--detach", "--name", CONTAINER, os.environ["BENCH_DOCKER_IMAGE"])
    try:
        with tempfile.TemporaryDirectory() as folder:
            return await _measured(Path(folder), socket)
    finally:
        await docker(socket, "rm", "--force", CONTAINER)


async def _measured(folder: Path, socket: str) -> dict[str, object]:
    entry = {"id": "box", "role": "testing", "backend": "docker", "connection": {"socket": socket}}
    home = prepare(folder / "installation", targets=[entry])
    credentials = home.credentials("docker")
    credentials.mkdir(parents=True)
    (credentials / "box").touch()
    backend = DockerBackend(credentials)
    try:
        async with (
            Docker(url=f"unix://{socket}", api_version="v1.44") as bare,
            running_installation(folder / "installation", home=home, environ=ENVIRON) as installation,
        ):
            writ = await requester(installation)
            rows = {
                "`docker inspect`": Row(lambda _: docker(socket, "inspect", CONTAINER), PROCESSES, _of_children),
                "aiodocker, kept connection": Row(
                    lambda _: bare.containers.container(CONTAINER).show(), CALLS, time.process_time
                ),
                "**Writ's agent**": Row(_agent(backend, socket), CALLS, time.process_time),
                "**Writ end to end**": Row(
                    lambda _: writ.ask(NAME, "box", {"container_name": CONTAINER}),
                    CALLS,
                    lambda: _of_installation(installation),
                ),
            }
            return {
                "rows": await _in_turns(rows),
                "restarts": await _restarts(writ, socket),
                "deploys": await _deploys(writ, socket, folder),
            }
    finally:
        await backend.close()


async def _restarts(writ: Requester, socket: str) -> dict[str, float]:
    """Measure restarts in turns. The container has no grace period, so the engine's own wait is left out."""
    await docker(socket, "run", "--detach", "--stop-timeout", "0", "--name", AGAIN, os.environ["BENCH_DOCKER_IMAGE"])
    by_line, by_writ = list[float](), list[float]()
    try:
        for _ in range(RESTARTS):
            by_line.append(await _seconds(docker(socket, "restart", AGAIN)))
            by_writ.append(await _seconds(writ.ask("container_restart", "box", {"container_name": AGAIN})))
    finally:
        await docker(socket, "rm", "--force", AGAIN)
    return {"`docker restart`": median(by_line), "**Writ end to end**": median(by_writ)}


async def _deploys(writ: Requester, socket: str, folder: Path) -> dict[str, float]:
    """Measure deploys in turns, each of a new stack. Its removal is left out."""
    image = os.environ["BENCH_DOCKER_IMAGE"]
    file = folder / "compose.yaml"
    services = "".join(f"  s{at}: {{image: '{image}', stop_grace_period: 0s}}\n" for at in range(SERVICES))
    file.write_text(f"services:\n{services}")
    compose = ("compose", "--project-name", STACK, "--file", str(file))
    found: dict[str, list[float]] = {name: [] for name in ("up --detach", "up --detach --wait", "writ")}
    for _ in range(DEPLOYS):
        for name, times in found.items():
            if name == "writ":
                deploy = writ.ask("stack_deploy", "box", {"stack_name": STACK, "compose": file.read_text()})
            else:
                deploy = docker(socket, *compose, *name.split())
            times.append(await _seconds(deploy))
            await docker(socket, *compose, "down", "--timeout", "0")
    by_writ = found.pop("writ")
    lines = {f"`docker compose {name}`": median(times) for name, times in found.items()}
    return {**lines, "**Writ end to end**": median(by_writ)}


async def _seconds(call: Awaitable[object]) -> float:
    began = time.perf_counter()
    await call
    return time.perf_counter() - began


async def requester(installation: RunningInstallation) -> Requester:
    seed = installation.home.seed_file(f"principal-{PRINCIPAL}").read_bytes()
    writ = Requester(await open_bus(Context(principal=PRINCIPAL, url=installation.url), seed, wait=10))
    await writ.listen()
    return writ


def _agent(backend: DockerBackend, socket: str) -> Call:
    target = Target(id="box", role="testing", backend="docker", connection={"socket": socket})

    async def call(number: int) -> object:
        task = Task(
            operation_id=encode_id(number.to_bytes(16, "big")),
            attempt=1,
            operation=INSPECT,
            target=target,
            parameters=INSPECT.check({"container_name": CONTAINER}),
            timeout=30.0,
        )
        return await backend.run(task, lambda _: None)

    return call


async def _in_turns(rows: dict[str, Row]) -> dict[str, Inspects]:
    found: dict[str, list[tuple[Sample, float]]] = {name: [] for name in rows}
    for _ in range(ROUNDS):
        for name, row in rows.items():
            before = row.processor()
            sample = await measure(row.call, 1, row.count)
            found[name].append((sample, (row.processor() - before) / row.count * 1000))
    return {name: _best(samples) for name, samples in found.items()}


def _best(samples: list[tuple[Sample, float]]) -> Inspects:
    best = min((sample for sample, _ in samples), key=lambda one: one.p50)
    return Inspects(best.p50, best.p99, round(median(processor for _, processor in samples), 3))


def _of_children() -> float:
    used = os.times()
    return used.children_user + used.children_system


def _of_installation(installation: RunningInstallation) -> float:
    """Return the processor seconds of the installation's processes, including NATS, and of this process, the client
    (proc_pid_stat(5)).
    """
    ticks = 0
    for one in installation.report.processes:
        if one.pid is not None:
            words = Path(f"/proc/{one.pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(words[11]) + int(words[12])
    return ticks / os.sysconf("SC_CLK_TCK") + time.process_time()


async def docker(socket: str, *words: str) -> None:
    """Run the command line. Raises SystemExit if it fails."""
    program = shutil.which("docker") or "docker"
    environ = {"PATH": os.environ["PATH"], "DOCKER_HOST": f"unix://{socket}"}
    process = await asyncio.create_subprocess_exec(program, *words, env=environ, stdout=DEVNULL, stderr=DEVNULL)
    if await process.wait() != 0:
        raise SystemExit(f"docker {' '.join(words)} failed")


def table(found: dict[str, Any]) -> str:
    """Return the figures for docs/performance.md."""
    inspects = found["rows"].items()
    lines = [f"| {name} | {one.p50:.2f} | {one.p99:.2f} | {one.processor:.2f} |" for name, one in inspects]
    changes = {"restart of a container": found["restarts"], f"deploy of {SERVICES} services": found["deploys"]}
    for title, rows in changes.items():
        lines += ["", f"| {title}, one at a time | median ms |", "|---|--:|"]
        lines += [f"| {name} | {seconds * 1000:.0f} |" for name, seconds in rows.items()]
    return "\n".join(
        ["| inspect of one container, one at a time | p50 ms | p99 ms | processor ms |", "|---|--:|--:|--:|", *lines]
    )
