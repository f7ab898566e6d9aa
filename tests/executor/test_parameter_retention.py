"""Hidden parameters of pending operations are kept while people may decide, also during a stop."""

import asyncio
import time
from typing import Any

import pytest
from msgspec import structs
from tests.executor.conftest import World

from writ_bus.port import Entry
from writ_contracts import subjects
from writ_contracts.decisions import Decision
from writ_contracts.journal import ControlEvent
from writ_contracts.people.approvals import DecisionDemand, DecisionStep
from writ_contracts.wire import encode
from writ_executor.service import Executor
from writ_executor.steps.parameter_retention import PENDING_SLACK
from writ_testing.host_clocks import ClockedHost

WRITE = {"parameters": {"file_path": "/srv/app/a", "content": "secret"}}
SECONDS = 600


def demanding(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scripted policy demand an approval within ten minutes."""
    plain = world.policy.decision
    step = DecisionStep(roles=["approver"], quorum=1, people=["bob"])
    demand = DecisionDemand(rule="writes", steps=[step], seconds=SECONDS)

    def decision(*args: Any) -> Decision:
        return structs.replace(plain(*args), demands=[demand], could_approve=["bob"])

    monkeypatch.setattr(world.policy, "decision", decision)
    world.policy.effects["file_write"] = "require_approval"


async def pending(world: World, one: Executor) -> str:
    """A pending write, and the name of its parameters in the store."""
    answer = await world.ask("file_write", **WRITE)
    assert answer.state == "awaiting_approval", answer
    requested = (await world.accepted(answer.operation_id)).requested
    await one.background.settle(0.0)  # no agent is there to preview it
    return f"{subjects.PARAMS.removesuffix('.>')}.{answer.operation_id}.{requested.fingerprint}"


async def rounds(one: Executor) -> None:
    for _ in range(2):
        await one.sweep.round()
        await one.background.settle()


async def test_parameters_are_kept_while_a_stop_makes_the_time_to_decide_longer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = ClockedHost()
    demanding(world, monkeypatch)
    one = await world.executor(sweep=1000.0, clocks=host.clocks)
    name = await pending(world, one)
    kept = world.broker.disk.kept
    assert kept[name][1] > time.monotonic() + SECONDS + PENDING_SLACK
    await stop(world, one)
    host.boot += SECONDS + 1
    kept[name] = (kept[name][0], time.monotonic() + 60)  # as after a stop of a day
    await rounds(one)
    assert await world.kinds(name.split(".")[-2]) == ["requested", "awaiting_approval"]
    assert kept[name][1] > time.monotonic() + SECONDS + PENDING_SLACK
    kept[name] = (kept[name][0], time.monotonic() + 60)
    await rounds(one)
    assert kept[name][1] < time.monotonic() + 61  # at most every half hour
    host.boot += 1800
    await rounds(one)
    assert kept[name][1] > time.monotonic() + SECONDS


async def test_parameters_of_an_expired_operation_are_not_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    host = ClockedHost()
    demanding(world, monkeypatch)
    one = await world.executor(sweep=1000.0, clocks=host.clocks)
    name = await pending(world, one)
    host.boot += SECONDS + 1
    await rounds(one)
    assert name not in world.broker.disk.kept


async def test_parameters_deleted_while_they_are_renewed_stay_deleted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    demanding(world, monkeypatch)
    one = await world.executor(sweep=1000.0)
    name = await pending(world, one)
    life, vault, disk = await world.accepted(name.split(".")[-2]), one.claims._vault, world.broker.disk
    disk.stores.clear()  # the renewal has read them, and its write is under way
    renewal = asyncio.create_task(vault.renew(life.requested, "", 60.0))
    await all_tasks_idle()
    await vault.forget(life.requested)
    disk.stores.set()
    await renewal
    assert name not in disk.kept


async def all_tasks_idle() -> None:
    """Let every task run until it waits for something else than the event loop."""
    for _ in range(20):
        await asyncio.sleep(0)


async def stop(world: World, one: Executor) -> None:
    event = ControlEvent(
        id="stop",
        at=one.recorder.clock(),
        correlation_id="c",
        kind="stop_set",
        principal="bob",
        operation_id="b" * 26,
        body={"scope": ["*"], "reason": "test"},
    )
    subject = subjects.control_event("stop_set")
    entry = Entry(subject=subject, data=encode(event), event_id=event.id, filter=subject, expected=0)
    await world.bus.journal.append(entry)
