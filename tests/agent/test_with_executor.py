"""Agents with real executors: both sides agree about each operation."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.executor.conftest import POOL, World

from writ_agent import verification
from writ_agent.agent import Agent, AgentSettings
from writ_agent.reporting import outbox
from writ_agent.reporting.receipts import AgentIdentity
from writ_agent.reporting.spool import ClaimSent, Intent, Spool
from writ_agent.service import metrics, new_instance
from writ_agent.work import claims, intents
from writ_agent.work.worker import Worker
from writ_bus.port import Message
from writ_contracts.agents import Acknowledgement
from writ_contracts.decisions import Decision, Grant, GrantRequest
from writ_contracts.errors import Conflict
from writ_contracts.journal import Finished, SecurityEvent
from writ_contracts.large_texts import LARGE
from writ_contracts.life import GrantedLife, Life
from writ_contracts.signing import Signed
from writ_executor.journal import large_parameters
from writ_executor.steps.receipts import ReceiptEndpoint
from writ_runtime.files.people_directory import KnownDirectory
from writ_runtime.files.state_file import StateFile
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.fakes.backend import FakeBackend
from writ_testing.fakes.scripted_policy import ScriptedPolicy
from writ_testing.memory.bus import MemoryBus
from writ_trust.keys import Key, generate_seed
from writ_trust.sealing import encrypt_once
from writ_trust.statements import digest

SECRET = b"s" * 32


class LocalFake(FakeBackend):
    name = "local"
    operations = FakeBackend.operations | {"file_write"}


class Installation:
    def __init__(self, world: World, folder: Path, stack: AsyncExitStack) -> None:
        self.world = world
        self.folder = folder
        self.backend = LocalFake()
        self._stack = stack

    async def agent(self, state: str = "state", key: Key | None = None) -> Agent:
        spool = self._stack.enter_context(Spool(self.folder / state, SECRET))
        agent = Agent(
            AgentSettings(version="0", heartbeat=0.1, kill_grace=0.3, stop_grace=0.3),
            AgentIdentity(key=key or self.world.hands.key, pool=POOL, instance=new_instance()),
            frozenset({self.world.policy.key.public}),
            bus=MemoryBus(self.world.broker),
            backend=self.backend,
            catalogue=self.world.catalogue,
            people=KnownDirectory(StateFile(self.folder / f"people-{state}.json", Signed), (), ""),
            spool=spool,
            metrics=metrics(),
        )
        await agent.start()
        self._stack.push_async_callback(agent.stop)
        return agent

    async def ask(self, operation: str, **parameters: Any) -> str:
        answer = await self.world.ask(operation, parameters=parameters)
        assert answer.operation_id is not None, answer
        return answer.operation_id

    async def end(self, operation_id: str) -> Life:
        await self.world.outcome(operation_id)
        return await self.world.life(operation_id)

    async def run(self, operation: str, **parameters: Any) -> Life:
        """Return the life of an operation that a first executor and agent have carried out to its end."""
        await self.world.executor()
        await self.agent()
        return await self.end(await self.ask(operation, **parameters))

    async def alarms(self) -> list[str]:
        return [event.kind for event in await self.world.events() if isinstance(event, SecurityEvent)]


def outcome_and_code(life: Life) -> tuple[str | None, str]:
    assert isinstance(life.end, Finished)
    return life.outcome, life.end.code


@pytest.fixture
async def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Installation]:
    monkeypatch.setattr(claims, "ASK_SECONDS", 0.3)
    world = World(tmp_path)
    world.catalogue = load_catalogue()
    world.policy = ScriptedPolicy(world.catalogue, {"web-1": world.policy.target("web-1")})
    await world.policy.serve(world.bus)
    async with AsyncExitStack() as stack:
        yield Installation(world, tmp_path, stack)
    await world.close()


async def test_operation_of_a_real_executor_and_agent_succeeds(installation: Installation) -> None:
    await installation.world.executor()
    await installation.agent()
    operation_id = await installation.ask("test_count", path="/x")
    life = await installation.end(operation_id)
    assert life.outcome == "succeeded"
    assert installation.backend.effects == [operation_id]
    assert await installation.world.kinds(operation_id) == ["requested", "dispatched", "granted", "finished"]
    assert await installation.alarms() == []


@pytest.mark.parametrize("headers", [claims._READS_TEXTS, {}], ids=["AES", "no AES"])
@pytest.mark.parametrize("content", ["x" * LARGE, "é" * LARGE, "x" * (LARGE - 1), '"' * 451_000 + "x" * 597_000])
async def test_a_large_content_reaches_the_agent_as_it_was_sent(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, content: str, headers: dict[str, str]
) -> None:
    monkeypatch.setattr(claims, "_READS_TEXTS", headers)
    await installation.run("file_write", file_path="/f", content=content)
    assert [task.parameters["content"] for task in installation.backend.tasks] == [content]
    assert await installation.alarms() == []


async def test_a_large_content_is_opened_while_the_intent_is_synced_and_run_after_both(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, steps, sync, open_all = threading.Event(), [], os.fdatasync, verification.open_parameters

    def synced_late(fd: int) -> None:
        assert opened.wait(10), "the parameters are opened meanwhile"
        sync(fd)
        steps.append(f"synced, {len(installation.backend.tasks)} run")

    def noted(*arguments: Any) -> dict[str, Any]:
        steps.append("opened")
        opened.set()
        return open_all(*arguments)

    monkeypatch.setattr(os, "fdatasync", synced_late)
    monkeypatch.setattr(intents, "open_parameters", noted)
    life = await installation.run("file_write", file_path="/f", content="x" * LARGE)
    assert life.outcome == "succeeded"
    assert steps[:2] == ["opened", "synced, 0 run"]


async def test_a_large_content_that_is_not_the_granted_one_is_not_run(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_another(data: bytes) -> tuple[bytes, bytes]:
        return encrypt_once(data.replace(b"x", b"y"))

    monkeypatch.setattr(large_parameters, "encrypt_once", of_another)
    life = await installation.run("file_write", file_path="/f", content="x" * LARGE)
    assert outcome_and_code(life) == ("failed", "grant_refused")
    assert installation.backend.tasks == []
    await _alarm(installation, "mismatched_grant")


async def test_a_large_content_is_not_run_where_the_disk_fails(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    life = await installation.run("file_write", file_path="/f", content="x" * LARGE)
    assert outcome_and_code(life) == ("failed", "spool_failed")
    assert installation.backend.tasks == []


async def test_eight_executors_and_eight_agents_run_each_once(installation: Installation) -> None:
    for number in range(8):
        await installation.world.executor()
        await installation.agent(f"state-{number}")
    ids = [await installation.ask("test_count", path="/x") for _ in range(10)]
    assert [(await installation.end(operation_id)).outcome for operation_id in ids] == ["succeeded"] * 10
    assert sorted(installation.backend.effects) == sorted(ids)
    assert await installation.alarms() == []


async def test_a_cancel_reaches_the_agent_and_ends_it(installation: Installation) -> None:
    await installation.world.executor()
    await installation.agent()
    operation_id = await installation.ask("test_sleep", seconds=60)
    await _started(installation, operation_id)
    await installation.world.ask("operation_cancel", target="writ", parameters={"operation_id": operation_id})
    assert (await installation.end(operation_id)).outcome == "cancelled"


async def test_a_grant_that_the_agent_refuses_ends_the_operation_and_leaves_an_alarm(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest: Callable[..., Grant] = installation.world.policy.grant

    def another_instance(ask: GrantRequest, decision: Decision, signed: Signed, effective: dict[str, Any]) -> Grant:
        return structs.replace(honest(ask, decision, signed, effective), instance="somebody-else")

    monkeypatch.setattr(installation.world.policy, "grant", another_instance)
    life = await installation.run("test_count", path="/x")
    assert outcome_and_code(life) == ("failed", "grant_refused")
    assert installation.backend.effects == []
    await _alarm(installation, "mismatched_grant")
    assert await installation.alarms() == ["mismatched_grant"]


async def test_report_on_a_lost_claim_is_no_alarm(installation: Installation) -> None:
    await installation.world.executor()
    operation_id = await installation.ask("test_count", path="/x")
    await installation.world.work(operation_id)
    with Spool(installation.folder / "state", SECRET) as spool:
        claim_sent = ClaimSent(operation_id=operation_id, attempt=1, principal="alice", instance="earlier")
        await spool.put(f"{operation_id}.1", claim_sent)
    await installation.agent()
    assert (await installation.end(operation_id)).outcome == "succeeded"
    assert await installation.alarms() == []


@pytest.mark.parametrize("begun", [False, True])
async def test_agent_whose_key_was_rotated_since_a_claim_reports_nothing_on_it(
    installation: Installation, begun: bool
) -> None:
    """It was killed in the middle of the rotation. A receipt by the new key is no forgery, and would look like one."""
    new = Key(generate_seed())
    installation.world.new_keys.append(new.public)
    await installation.world.executor()
    operation_id = await installation.ask("test_count", path="/x")
    held = await installation.world.hands.claim(await installation.world.work(operation_id))
    common = {
        "operation_id": operation_id,
        "attempt": 1,
        "principal": "alice",
        "instance": installation.world.hands.instance,
        "key": held.claim.key,
    }
    entry: ClaimSent | Intent = ClaimSent(claim_digest=digest(held.claim), **common)  # type: ignore[arg-type]
    if begun:
        entry = Intent(operation="test_count", grant_digest="5" * 64, **common)  # type: ignore[arg-type]
    with Spool(installation.folder / "state", SECRET) as spool:
        await spool.put(f"{operation_id}.1", entry)
    await (await installation.agent(key=new)).stop()  # what it had to report is acknowledged by now
    assert await installation.alarms() == []


async def test_an_agent_that_ended_between_grant_and_effect_says_that_nothing_was_run(
    installation: Installation,
) -> None:
    await installation.world.executor()
    operation_id = await installation.ask("test_count", path="/x")
    held = await installation.world.hands.claim(await installation.world.work(operation_id))
    with Spool(installation.folder / "state", SECRET) as spool:
        claim_sent = ClaimSent(
            operation_id=operation_id,
            attempt=1,
            principal="alice",
            instance=installation.world.hands.instance,
            claim_digest=digest(held.claim),
        )
        await spool.put(f"{operation_id}.1", claim_sent)
    await installation.agent()
    life = await installation.end(operation_id)
    assert outcome_and_code(life) == ("failed", "agent_restarted")
    assert installation.backend.effects == []
    assert await installation.alarms() == []


async def test_claim_that_is_granted_after_its_agent_gave_up_has_failed(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NATS may hold back the append of a grant, while its stream changes the leader, say."""
    monkeypatch.setattr(claims, "PATIENCE", 0.5)
    monkeypatch.setattr(outbox, "LONGEST_PAUSE", 0.1)
    reported, record = asyncio.Event(), installation.world.policy._record
    handle_receipt = ReceiptEndpoint.handle_receipt

    async def noted(self: ReceiptEndpoint, message: Message) -> Acknowledgement:
        acknowledgement = await handle_receipt(self, message)
        reported.set()
        return acknowledgement

    async def held_back(*arguments: Any) -> None:
        await reported.wait()
        await record(*arguments)

    monkeypatch.setattr(ReceiptEndpoint, "handle_receipt", noted)
    monkeypatch.setattr(installation.world.policy, "_record", held_back)
    await installation.world.executor()
    await installation.agent()
    operation_id = await installation.ask("test_count", path="/x")
    life = await installation.end(operation_id)
    assert outcome_and_code(life) == ("failed", "not_begun")
    assert installation.backend.effects == []
    assert await installation.world.kinds(operation_id) == ["requested", "dispatched", "granted", "finished"]
    assert await installation.alarms() == []


async def test_claim_that_is_granted_after_a_repetition_of_it_was_refused_has_failed(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A former leader of the journal refuses another append of a grant while the first one waits to be stored."""
    monkeypatch.setattr(claims, "REPEAT_SECONDS", 0.1)
    monkeypatch.setattr(claims, "ASK_SECONDS", 0.5)
    monkeypatch.setattr(outbox, "LONGEST_PAUSE", 0.1)
    over, record, appends = asyncio.Event(), installation.world.policy._record, 0
    claim = Worker._claim

    async def claimed(*arguments: Any) -> Any:
        try:
            return await claim(*arguments)
        finally:
            over.set()

    async def held_back(*arguments: Any) -> None:
        nonlocal appends
        appends += 1
        if appends > 1:
            raise Conflict("wrong last sequence", code="moved_on")
        await over.wait()
        await record(*arguments)

    monkeypatch.setattr(Worker, "_claim", claimed)
    monkeypatch.setattr(installation.world.policy, "_record", held_back)
    life = await installation.run("test_count", path="/x")
    assert outcome_and_code(life) == ("failed", "not_begun")
    assert appends > 1
    assert installation.backend.effects == []
    assert await installation.alarms() == []


async def _started(installation: Installation, operation_id: str) -> None:
    async def check() -> bool | None:
        return isinstance(await installation.world.life(operation_id), GrantedLife) or None

    await installation.world.until(check)


async def _alarm(installation: Installation, kind: str) -> None:
    async def check() -> bool | None:
        return kind in await installation.alarms() or None

    await asyncio.wait_for(installation.world.until(check), 10)
