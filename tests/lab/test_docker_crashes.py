"""A real dockerd, and an agent or the machine of the engine killed at steps of an update: what is left is true of the
outcome, and is found by the label of the operation.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.lab.docker_host import BOX, DockerHost, make_images
from tests.lab.engine import Engine, bare_engine

from writ_agent.backends.port import Task, TaskResult
from writ_agent_docker.backend import DockerBackend
from writ_containers.container_view import OPERATION_LABEL
from writ_containers.engine import Engine as EngineClient
from writ_contracts.errors import WritError
from writ_contracts.ids import encode_id

pytestmark = pytest.mark.lab
STEPS = ("create", "stop", "rename", "start", "remove")
Step = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with bare_engine() as made:
        make_images(made)
        yield made


@pytest.fixture
async def host(engine: Engine, tmp_path: Path) -> AsyncIterator[DockerHost]:
    made = DockerHost(tmp_path, engine)
    engine.docker("run", "--detach", "--name", "web", "--restart", "always", "--env", "OLD=1", BOX)
    yield made
    await made.backend.close()
    engine.docker("rm", "--force", "--volumes", *engine.docker("ps", "--all", "--quiet").split())


class Broken:
    """A step of the client that reaches the engine, or does not, and says no more until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: str, *, acts: bool) -> None:
        self.reached, self.let_go = asyncio.Event(), asyncio.Event()
        former: Step = getattr(EngineClient, step)

        async def broken(client: EngineClient, *given: Any, **named: Any) -> Any:
            if self.reached.is_set():
                return await former(client, *given, **named)
            if acts:
                await former(client, *given, **named)
            self.reached.set()
            await self.let_go.wait()
            raise WritError("the connection ended", code="connection_lost")

        monkeypatch.setattr(EngineClient, step, broken)


async def update(host: DockerHost) -> Task:
    asked = host.task("container_update", encode_id(os.urandom(16)), container_name="web", image=BOX, recreate=True)
    return replace(asked, baseline=await host.backend.baseline(asked))


def labelled(host: DockerHost, task: Task) -> list[str]:
    """As a person looks for them."""
    found = host.engine.docker("ps", "--all", "--quiet", "--filter", f"label={OPERATION_LABEL}={task.operation_id}")
    return found.split()


@pytest.mark.parametrize("acts", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_probe_after_a_killed_agent_is_true(
    host: DockerHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: str, acts: bool
) -> None:
    task = await update(host)
    former = host.shown("web")["Id"]
    broken = Broken(monkeypatch, step, acts=acts)
    killed = asyncio.create_task(host.backend.run(task, print))
    async with asyncio.timeout(30):
        await broken.reached.wait()
    second = DockerBackend(tmp_path / "credentials")
    probed = await second.probe(task, task.baseline)
    await second.close()
    check(host, task, former, probed.verdict)
    await host.backend.stop(task.operation_id, 5.0)
    await asyncio.wait({killed}, timeout=20)


@pytest.mark.parametrize("step", ["create", "rename", "start"])
async def test_outcome_after_a_power_cut_of_the_engine_is_true(
    host: DockerHost, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    task = await update(host)
    former = host.shown("web")["Id"]
    broken = Broken(monkeypatch, step, acts=True)
    running = asyncio.create_task(host.backend.run(task, print))
    async with asyncio.timeout(30):
        await broken.reached.wait()
    await asyncio.to_thread(host.engine.stop)
    broken.let_go.set()
    await asyncio.to_thread(host.engine.start)
    done: TaskResult = await asyncio.wait_for(running, 60)
    if done.outcome == "succeeded":
        check(host, task, former, "took_effect")
    elif done.effect == "none":
        check(host, task, former, "no_effect")
    else:
        assert (done.outcome, done.effect) in (("unknown", "maybe"), ("failed", "done"), ("failed", "maybe")), done
    probed = await host.backend.probe(task, task.baseline)
    check(host, task, former, probed.verdict)


def check(host: DockerHost, task: Task, former: str, verdict: str) -> None:
    ours = labelled(host, task)
    assert len(ours) <= 1
    if verdict == "took_effect":
        assert (host.shown("web")["Id"][:12], host.runs("web")) == (ours[0], True)
    elif verdict == "no_effect":
        assert (host.shown("web")["Id"], host.runs("web"), ours) == (former, True, [])
    else:
        assert ours or not host.runs("web")
