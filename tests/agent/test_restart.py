"""An agent after a restart: claims, spool and markers of its predecessor."""

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from msgspec import structs
from tests.agent.conftest import POOL, SECRET, TARGET, World, until

from writ_agent.backends import processes
from writ_agent.backends.port import Task, TaskResult
from writ_agent.reporting.receipts import AgentIdentity, ReceiptSubject, receipt_message
from writ_agent.reporting.spool import ClaimSent, Intent, Parcel, Spool
from writ_contracts.decisions import Grant
from writ_contracts.ids import encode_id
from writ_testing.fakes.backend import FakeBackend
from writ_testing.fakes.scripted_executor import VERSION
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import sign

ID = encode_id(os.urandom(16))
"""Of this process alone: what an agent finds left of it is ended, wherever on the machine it runs."""


async def left(folder: Path, entry: ClaimSent | Intent | Parcel) -> None:
    with Spool(folder, SECRET) as spool:
        await spool.put(f"{ID}.1", entry)


def intent(operation: str) -> Intent:
    return Intent(
        operation_id=ID, attempt=1, principal="alice", instance="earlier", operation=operation, grant_digest="5" * 64
    )


async def test_begun_operation_is_unknown_under_the_instance_that_began_it(world: World) -> None:
    await left(world.folder / "state", intent("test_count"))
    await world.agent()
    receipt = await world.executor.ended(ID)
    assert (receipt.outcome, receipt.effect, receipt.over) == ("unknown", "maybe", True)
    assert (receipt.code, receipt.instance, receipt.grant_digest) == ("agent_restarted", "earlier", "5" * 64)


async def test_read_only_operation_has_had_no_effect(world: World) -> None:
    await left(world.folder / "state", intent("test_noop"))
    await world.agent()
    assert (await world.executor.ended(ID)).effect == "none"


class Remote(FakeBackend):
    """A backend for other hosts."""

    def __init__(self) -> None:
        super().__init__()
        self.settled: list[Task] = []

    async def settle(self, task: Task) -> TaskResult:
        self.settled.append(task)
        return TaskResult(outcome="succeeded", effect="done")


async def test_running_operation_is_probed_under_a_read_grant_of_policy(world: World) -> None:
    remote = Remote()
    kept = structs.replace(intent("test_count"), grant=sign(Key(generate_seed()), VERSION))
    await left(world.folder / "state", kept)
    await world.agent(backend=remote)
    receipt = await world.executor.ended(ID)
    assert (receipt.outcome, receipt.over, remote.settled) == ("unknown", False, [])


class Mute(Remote):
    """A backend on a host without answers."""

    async def settle(self, task: Task) -> TaskResult:
        self.settled.append(task)
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_host_that_is_mute_is_not_waited_for_when_the_operations_own_time_is_over(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("writ_agent.work.recovery.SETTLE_SECONDS", 600.0)
    remote = Mute()
    kept = structs.replace(intent("test_count"), grant=sign(world.executor.key, granted(timeout=60, ago=61.0)))
    await left(world.folder / "state", kept)
    await world.agent(backend=remote)
    receipt = await world.executor.ended(ID)
    assert (receipt.outcome, receipt.code, receipt.over) == ("unknown", "agent_restarted", False)
    assert [task.operation_id for task in remote.settled] == [ID]


class Broken(Remote):
    """A backend with a defect."""

    async def settle(self, task: Task) -> TaskResult:
        """See Leftovers."""
        raise KeyError("a defect")


async def test_a_backend_that_breaks_while_it_settles_does_not_keep_the_agent_from_starting(world: World) -> None:
    kept = structs.replace(intent("test_count"), grant=sign(world.executor.key, granted(timeout=60, ago=1.0)))
    await left(world.folder / "state", kept)
    await world.agent(backend=Broken())
    receipt = await world.executor.ended(ID)
    assert (receipt.outcome, receipt.code, receipt.over) == ("unknown", "agent_restarted", False)


def granted(timeout: int, ago: float) -> Grant:
    """A grant under which an earlier process of the agent began the operation."""
    return Grant(
        operation_id=ID,
        operation="test_count",
        target=TARGET,
        principal="alice",
        parameters_digest="1" * 64,
        decision_digest="2" * 64,
        claim_digest="3" * 64,
        policy=VERSION,
        control_sequence=0,
        pool=POOL,
        instance="earlier",
        nonce="4" * 64,
        lifetime=15.0,
        timeout=timeout,
        granted_at=time.time() - ago,
    )


async def test_claimed_operation_without_a_grant_was_never_begun(world: World) -> None:
    await left(world.folder / "state", ClaimSent(operation_id=ID, attempt=1, principal="alice", instance="earlier"))
    await world.agent()
    receipt = await world.executor.ended(ID)
    assert (receipt.outcome, receipt.effect, receipt.grant_digest) == ("failed", "none", None)


async def test_a_receipt_that_was_not_acknowledged_is_sent_as_it_was(world: World) -> None:
    run = ReceiptSubject(
        operation_id=ID,
        attempt=1,
        principal="alice",
        instance="earlier",
        grant_digest="5" * 64,
        claim_digest="6" * 64,
    )
    identity = AgentIdentity(key=world.key, pool=POOL, instance="earlier")
    body = receipt_message(identity, run, TaskResult(outcome="succeeded", effect="done"), None, 0.1)
    await left(world.folder / "state", Parcel(subject=f"writ.receipt.{POOL}", body=body))
    await world.agent()
    assert (await world.executor.ended(ID)).outcome == "succeeded"


async def test_outcome_after_a_restart_is_reported_once_and_forgotten(world: World) -> None:
    await left(world.folder / "state", intent("test_count"))
    agent = await world.agent()
    await world.executor.ended(ID)
    await until(lambda: [beat.running for beat in world.executor.heartbeats[-1:]] == [[]])
    await agent.stop()
    await world.stack.aclose()
    with Spool(world.folder / "state", SECRET) as spool:
        assert spool.live == {}


async def test_processes_that_were_left_are_ended_first_wherever_they_went(world: World) -> None:
    left_over = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        "trap '' TERM; setsid sleep 300 & sleep 300",
        env=processes.marked_environ(ID),
        start_new_session=True,
    )
    try:
        await until(lambda: len(processes.living(ID)) == 3)
        await left(world.folder / "state", intent("test_count"))
        await world.agent()
        receipt = await world.executor.ended(ID)
        assert receipt.over
        assert processes.living(ID) == []
    finally:
        for pid in processes.living(ID):
            os.kill(pid, signal.SIGKILL)
        await left_over.wait()


async def test_a_new_attempt_of_what_may_run_twice_is_a_new_claim_and_runs(world: World) -> None:
    await world.agent()
    operation_id = await world.executor.dispatch("test_noop", TARGET)
    await world.executor.ended(operation_id)
    await world.executor.dispatch("test_noop", TARGET, attempt=2, again=operation_id)
    await world.executor.until(lambda: len(world.executor.receipts) == 2)
    assert [one.attempt for one in world.executor.signed_receipts()] == [1, 2]


async def test_operation_begun_before_a_restart_is_not_claimed_again_under_any_attempt(
    world: World,
) -> None:
    one = await world.executor.dispatch("test_count", TARGET, path="/x")
    with Spool(world.folder / "state", SECRET) as spool:
        await spool.put(f"{one}.1", structs.replace(intent("test_count"), operation_id=one))
        spool.clear(f"{one}.1")
    await world.agent()
    again = await world.executor.dispatch("test_count", TARGET, attempt=2, again=one, path="/x")
    other = await world.executor.dispatch("test_count", TARGET, path="/x")
    await world.executor.ended(other)
    assert again == one
    assert world.backend.effects == [other]
    assert world.executor.operations[one].claims == []
