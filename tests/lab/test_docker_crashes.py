"""A real dockerd, with the agent, `docker compose` or the engine's machine killed during a change.

The change is an update or a stack's operation. The outcome is true, and leftovers are found by a label.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.lab.docker_host import BOX, DockerHost, docker_host
from tests.lab.engine import Engine

from writ_agent.backends.port import Task, TaskResult
from writ_agent.backends.processes import living
from writ_agent_docker.backend import DockerBackend
from writ_containers.containers.container_view import OPERATION_LABEL, STACK_OPERATION_LABEL, stack_mark
from writ_containers.engine.api import Engine as EngineClient
from writ_contracts.errors import WritError
from writ_contracts.ids import encode_id
from writ_hostops.processes import kill
from writ_testing.eventually import eventually

pytestmark = pytest.mark.lab
STEPS = ("create", "stop", "rename", "start", "remove")
Step = Callable[..., Awaitable[Any]]


@pytest.fixture
async def host(engine: Engine, tmp_path: Path) -> AsyncIterator[DockerHost]:
    async with docker_host(tmp_path, engine) as made:
        engine.docker("run", "--detach", "--name", "web", "--restart", "always", "--env", "OLD=1", BOX)
        yield made


class Broken:
    """A step of the client that reaches the engine or not, and then waits for its release."""

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
    """Return the containers as a person looks for them."""
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


def stack(host: DockerHost, verb: str = "deploy", **given: Any) -> Task:
    text = "services:\n" + "".join(f"  s{n}: {{image: '{BOX}', scale: 2, stop_grace_period: 1s}}\n" for n in range(3))
    given = {"compose": text} if verb == "deploy" else given
    return host.task(f"stack_{verb}", encode_id(os.urandom(16)), stack_name="shop", **given)


def of_stack(host: DockerHost, task: Task) -> list[str]:
    """Return the containers of the stack as a person looks for them."""
    mark = f"label={STACK_OPERATION_LABEL}={stack_mark(task.operation_id)}"
    return host.engine.docker("ps", "--all", "--quiet", "--filter", mark).split()


async def begun(host: DockerHost, task: Task) -> tuple[Task, asyncio.Task[TaskResult]]:
    """The deploy in the middle: a container of it is there."""
    task = replace(task, baseline=await host.backend.baseline(task))
    running = asyncio.create_task(host.backend.run(task, print))

    async def created() -> bool:
        return bool(await asyncio.to_thread(of_stack, host, task))

    await eventually(created, within=60, what="a container of the stack")
    return task, running


async def test_stack_with_a_killed_compose_is_found_by_its_label(host: DockerHost) -> None:
    task, running = await begun(host, stack(host))
    kill(living(task.operation_id), signal.SIGKILL)
    done = await asyncio.wait_for(running, 60)
    ours = of_stack(host, task)
    assert ours
    probed = await host.backend.probe(task, task.baseline)
    if done.outcome == "succeeded":
        assert (len(ours), probed.verdict) == (6, "took_effect")
    else:
        assert (done.outcome, done.effect, probed.verdict) == ("failed", "done", "unknown"), done
    removed = await host.run("stack_remove", encode_id(os.urandom(16)), stack_name="shop")
    assert (removed.outcome, of_stack(host, task)) == ("succeeded", [])


async def test_outcome_of_a_stack_after_a_power_cut_of_the_engine_is_true(host: DockerHost) -> None:
    task, running = await begun(host, stack(host))
    await asyncio.to_thread(host.engine.stop)
    await asyncio.to_thread(host.engine.start)
    done = await asyncio.wait_for(running, 60)
    assert (done.outcome, done.effect) in (("failed", "done"), ("unknown", "maybe")), done
    assert (await host.backend.probe(task, task.baseline)).verdict == "unknown"
    again = replace(stack(host), timeout=60.0)
    again = replace(again, baseline=await host.backend.baseline(again))
    assert (await host.backend.run(again, print)).outcome == "succeeded"


@pytest.mark.parametrize("acts", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", ["stop", "remove", "remove_network"])
async def test_probe_of_a_removal_after_a_killed_agent_is_true(
    host: DockerHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: str, acts: bool
) -> None:
    assert (await host.backend.run(stack(host), print)).outcome == "succeeded"
    task = stack(host, "remove", volumes=True)
    task = replace(task, baseline=await host.backend.baseline(task))
    broken = Broken(monkeypatch, step, acts=acts)
    killed = asyncio.create_task(host.backend.run(task, print))
    async with asyncio.timeout(60):
        await broken.reached.wait()
    second = DockerBackend(tmp_path / "credentials")
    verdict = (await second.probe(task, task.baseline)).verdict
    await second.close()
    assert verdict == ("took_effect" if (step, acts) == ("remove_network", True) else "unknown")
    broken.let_go.set()
    done = await asyncio.wait_for(killed, 60)
    assert (done.outcome, done.effect) in (("unknown", "maybe"), ("succeeded", "done"))
    assert "shop" in host.engine.docker("network", "ls") or done.outcome == "succeeded"
