"""kill -9 of executor, policy and Docker agent at each step of a container's creation and update and of a stack's
deploy, and of the engine: one outcome in the journal, at most one effect.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.agent_docker.crash_cases import made_by
from tests.agent_docker.stack_cases import CASES, TWO, is_reached, made_by_stack
from tests.faults.test_kills import AT_AGENT, AT_EXECUTOR, AT_POLICY, BOUND, ENVIRON, TIMEOUT

from writ_client.client import Writ
from writ_contracts.errors import WritError
from writ_contracts.ids import operation_id as id_of
from writ_testing.eventually import eventually
from writ_testing.fakes.docker_engine import FakeEngine, Kind, fake_engine
from writ_testing.installations.count_load import settled
from writ_testing.installations.installation import RunningInstallation, open_policy, running_installation

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(240)]
STEPS = (*AT_EXECUTOR, *AT_POLICY, *AT_AGENT)
OPERATIONS: dict[str, dict[str, Any]] = {
    "container_create": {"container_name": "new", "image": "box:1", "timeout": TIMEOUT},
    "container_update": {"container_name": "web", "image": "box:2", "timeout": TIMEOUT},
    "stack_deploy": {"stack_name": "shop", "compose": TWO, "timeout": TIMEOUT},
}


@asynccontextmanager
async def docker_installation(folder: Path, fault: str = "") -> AsyncIterator[tuple[RunningInstallation, FakeEngine]]:
    """`box` is an engine with the container `web`."""
    credentials = folder / "credentials"
    credentials.mkdir()
    (credentials / "box").touch()
    environ = {**ENVIRON, "WRIT_DOCKER_CREDENTIALS": str(credentials)}
    if fault:
        environ |= {"WRIT_FAULT": fault, "WRIT_FAULT_ONCE": str(folder / "died")}
    async with fake_engine(folder / "engine.sock") as engine:
        engine.add_image("box:2")
        engine.put("web", running=True, HostConfig={"RestartPolicy": {"Name": "always"}})
        target = {"id": "box", "role": "development", "backend": "docker", "connection": {"socket": str(engine.socket)}}
        async with running_installation(
            folder, targets=[target], policy=open_policy(), executors=2, environ=environ
        ) as installation:
            yield installation, engine


async def check(installation: RunningInstallation, engine: FakeEngine, operation: str) -> str:
    """Request it until there is an outcome, under one key. Return the final outcome."""
    async with await installation.client() as writ:
        await eventually(lambda: _outcome_of(writ, operation), within=BOUND, what="an outcome")
        operation_id = id_of("operator", operation)
        final = await settled(writ, operation_id)
        trace = [event.kind for event in (await writ.trace(operation_id=operation_id)).events]
    assert trace.count("finished") + trace.count("unknown") + trace.count("refused") == 1, trace
    (check_stack if operation == "stack_deploy" else check_container)(engine, operation, operation_id, final)
    return final


def check_stack(engine: FakeEngine, operation: str, operation_id: str, final: str) -> None:
    created = made_by_stack(engine, operation_id)
    assert len(created) == len(set(created)) <= 2
    if final == "succeeded":
        assert is_reached(CASES["deploy"], engine, but=("/web",))
        assert len(created) == 2
    elif final in ("failed", "expired"):
        assert not is_reached(CASES["deploy"], engine, but=("/web",))
    assert sorted(created) == sorted(name for name in _names(engine) if name.startswith("/shop-"))


def _names(engine: FakeEngine) -> list[str]:
    return sorted(one["Name"] for one in engine.containers.values())


def check_container(engine: FakeEngine, operation: str, operation_id: str, final: str) -> None:
    created = made_by(engine, operation_id)
    assert len(created) <= 1
    if final == "succeeded":
        assert [(one["Name"].strip("/"), one["State"]["Running"]) for one in created] == [
            (OPERATIONS[operation]["container_name"], True)
        ]
    elif final in ("failed", "expired"):
        assert created == []


async def _outcome_of(writ: Writ, operation: str) -> str | None:
    try:
        return (
            await writ.run(operation, "box", OPERATIONS[operation], idempotency_key=operation, timeout=BOUND)
        ).outcome
    except WritError:
        return None  # a process died meanwhile


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("fault", STEPS)
async def test_process_killed_at_any_step_leaves_one_outcome(tmp_path: Path, fault: str, operation: str) -> None:
    async with docker_installation(tmp_path, fault) as (installation, engine):
        await check(installation, engine, operation)
        await eventually(lambda: _died(tmp_path), what=f"the step {fault}")


@pytest.mark.parametrize("kind", ["hang", "act_and_hang"])
@pytest.mark.parametrize(
    ("operation", "number"),
    [
        *(("container_create", number) for number in (1, 2)),
        *(("container_update", number) for number in range(1, 7)),
        *(("stack_deploy", number) for number in range(1, 7)),
    ],
)
async def test_engine_killed_and_restarted_leaves_one_outcome(
    tmp_path: Path, operation: str, number: int, kind: Kind
) -> None:
    async with docker_installation(tmp_path) as (installation, engine):
        engine.breaks = (number, kind)
        restart = asyncio.create_task(_restart(engine))
        await check(installation, engine, operation)
        await restart


async def _restart(engine: FakeEngine) -> None:
    await engine.broken.wait()
    await engine.restart()


async def _died(folder: Path) -> bool:
    return (folder / "died").exists()
