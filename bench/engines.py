"""Measure one Docker agent with 50 engines, one of them dead and one hanging: `python -m bench engines`.

The engines are fakes on Unix sockets in this process, so the figures are those of Writ and not of an engine.
"""

import asyncio
import tempfile
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

from bench.docker import requester
from bench.end_to_end import ENVIRON, Requester, resident
from bench.timing import measure, pause
from writ_bus import tasks
from writ_client.client import Writ
from writ_testing.fakes.docker_engine import fake_engine
from writ_testing.installations.installation import prepare, running_installation

ENGINES, CALLS, ROUNDS = 50, 150, 3
DEAD, HANGING, HEALTHY = "box-dead", "box-hanging", "box-0"
AT_ONCE, PAUSE = 8, 0.05
"""Requests at once to each of the two engines that do not reply, while a healthy one is measured; and the pause between
them.
"""
CONTAINER, OTHER = "web", "beside"


async def run() -> dict[str, object]:
    """Return all figures."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        async with AsyncExitStack() as stack:
            sockets = await _sockets(stack, Path(folder))
            return await _measured(Path(folder), sockets)


async def _sockets(stack: AsyncExitStack, folder: Path) -> dict[str, str]:
    """Start the engines. Return their sockets by target."""
    sockets = {DEAD: str(folder / "dead.sock"), HANGING: str(folder / "hanging.sock")}
    silent = await asyncio.start_unix_server(_never_answer, sockets[HANGING])
    stack.callback(silent.close)
    for number in range(ENGINES - len(sockets)):
        sockets[f"box-{number}"] = str(folder / f"{number}.sock")
        engine = await stack.enter_async_context(fake_engine(folder / f"{number}.sock"))
        engine.put(CONTAINER, running=True)
    return sockets


async def _never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while await reader.read(65536):
            pass
    writer.close()


async def _measured(folder: Path, sockets: dict[str, str]) -> dict[str, object]:
    entries = [
        {"id": name, "role": "testing", "backend": "docker", "connection": {"socket": socket, "reply_timeout": timeout}}
        for name, socket in sockets.items()
        for timeout in [2 if name == HANGING else 30]
    ]
    home = prepare(folder / "installation", targets=entries, principals=[(OTHER, {})])
    credentials = home.credentials("docker")
    credentials.mkdir(parents=True)
    for name in sockets:
        (credentials / name).touch()
    async with running_installation(folder / "installation", home=home, environ=ENVIRON) as installation:
        writ = await requester(installation)
        await _inspect(writ, HEALTHY)
        memory = [resident(installation)["agent-docker"]]
        healthy = [name for name in sockets if name not in (DEAD, HANGING)]
        await measure(lambda number: _inspect(writ, healthy[number]), AT_ONCE, len(healthy))
        alone = await _best(writ)
        async with await installation.client(OTHER) as other:
            beside = tasks.start(_keep_asking(other), "requests to engines without an answer")
            await pause(1.0)
            disturbed = await _best(writ)
            beside.cancel()
            await asyncio.wait({beside})
        memory.append(resident(installation)["agent-docker"])
        return {"alone": alone, "beside": disturbed, "memory": memory}


async def _best(writ: Requester) -> dict[str, float]:
    """Return the round with the best p50, with one request at a time."""
    samples = [await measure(lambda _: _inspect(writ, HEALTHY), 1, CALLS) for _ in range(ROUNDS)]
    best = min(samples, key=lambda one: one.p50)
    return {"p50": best.p50, "p99": best.p99}


async def _keep_asking(writ: Writ) -> None:
    async def ask(target: str) -> None:
        while True:
            await writ.run("container_inspect", target, {"container_name": CONTAINER}, timeout=30)
            await pause(PAUSE)

    await asyncio.gather(*(ask(target) for target in (DEAD, HANGING) for _ in range(AT_ONCE)))


async def _inspect(writ: Requester, target: str) -> None:
    await writ.ask("container_inspect", target, {"container_name": CONTAINER})


def table(found: dict[str, Any]) -> str:
    """Return the figures for docs/performance.md."""
    rows = {"alone": "alone", f"beside {AT_ONCE} requests each to a dead and a hanging one": "beside"}
    lines = [f"| inspect of a healthy engine among {ENGINES}, one at a time | p50 ms | p99 ms |", "|---|--:|--:|"]
    lines += [f"| {title} | {found[key]['p50']:.1f} | {found[key]['p99']:.1f} |" for title, key in rows.items()]
    first, last = found["memory"]
    return "\n".join([*lines, "", f"Memory of the agent: {first:.0f} MB with one engine, {last:.0f} MB with all."])
