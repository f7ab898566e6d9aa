"""A real dockerd that hangs before a step of an operation: the outcome is true, and the engine is used again later."""

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

from writ_agent.backends.port import Task
from writ_agent.work.running import RunningOperation
from writ_containers.engine.api import Engine as EngineClient
from writ_contracts.errors import WritError
from writ_contracts.ids import encode_id
from writ_testing.eventually import eventually
from writ_testing.search import cmdline, contents, pids

pytestmark = pytest.mark.lab
REPLACED = {"container_name": "web", "image": BOX, "recreate": True}
STEPS: list[tuple[str, str, dict[str, Any]]] = [
    ("container_restart", "find", {"container_name": "web"}),
    ("container_restart", "restart", {"container_name": "web"}),
    ("container_create", "create", {"container_name": "new", "image": BOX}),
    ("container_delete", "remove", {"container_name": "web", "force": True}),
    ("container_update", "rename", REPLACED),
    ("image_pull", "pull", {"image": "registry.invalid/box:1"}),
]


@pytest.fixture
async def host(engine: Engine, tmp_path: Path) -> AsyncIterator[DockerHost]:
    async with docker_host(tmp_path, engine) as made:
        engine.docker("run", "--detach", "--name", "web", "--restart", "always", BOX)
        yield made


def process_of(engine: Engine) -> int:
    """Return the process of dockerd, which is a child of those that made its namespaces."""
    config = f"--config-file={engine.folder}/daemon.json".encode()
    [found] = [pid for pid in pids() if config in cmdline(pid) and contents(Path(f"/proc/{pid}/comm")) == b"dockerd\n"]
    return found


def hang_at(monkeypatch: pytest.MonkeyPatch, engine: Engine, step: str) -> int:
    """Stop the process of the engine before it gets this request. Return the process."""
    process = process_of(engine)
    former: Callable[..., Awaitable[Any]] = getattr(EngineClient, step)

    async def hanging(client: EngineClient, *given: Any, **named: Any) -> Any:
        os.kill(process, signal.SIGSTOP)
        return await former(client, *given, **named)

    monkeypatch.setattr(EngineClient, step, hanging)
    return process


@pytest.mark.parametrize(("operation", "step", "given"), STEPS, ids=[f"{one}.{step}" for one, step, _ in STEPS])
async def test_outcome_is_true_where_the_engine_hangs_before_a_step(
    host: DockerHost, operation: str, step: str, given: dict[str, Any]
) -> None:
    task = replace(host.task(operation, encode_id(os.urandom(16)), **given), timeout=3.0)
    task = replace(task, baseline=await host.backend.baseline(task))
    with pytest.MonkeyPatch.context() as monkeypatch:
        process = hang_at(monkeypatch, host.engine, step)
        try:
            done = await asyncio.wait_for(RunningOperation(host.backend, task, print, 1.0).wait(), 60)
        finally:
            os.kill(process, signal.SIGCONT)
    assert (done.outcome, done.code) in (("unknown", "timeout"), ("failed", "timeout"))
    listed = await asyncio.wait_for(host.run("container_list", encode_id(os.urandom(16))), 60)
    assert listed.outcome == "succeeded"
    certain = "no_effect" if done.outcome == "failed" else ""
    await eventually(lambda: probed(host, task, certain), what="a reply of the engine to a probe")


async def probed(host: DockerHost, task: Task, certain: str) -> bool:
    """Return whether a probe has this verdict, or one at all: there is none while the engine has the former request in
    its hands, and then it is `unknown` for some seconds.
    """
    try:
        verdict = (await host.backend.probe(replace(task, timeout=10.0), task.baseline)).verdict
    except WritError:
        return False
    return verdict == certain or not certain
