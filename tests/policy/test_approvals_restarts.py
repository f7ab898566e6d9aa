"""The whole life of an approval over policy and executors, each of which restarts between any two steps.

A model beside the services knows the approvals, the roles and the demands of the policy. In any order the history is
valid, it starts at most once and only with sufficient approvals, and it always ends.
"""

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import json
from tests.policy.approving import NEEDS, TWO
from tests.policy.replica import Clock, Files, files
from tests.rules.asking import CATALOGUE

from writ_bus.port import Entry
from writ_contracts import subjects
from writ_contracts.decisions import Decision
from writ_contracts.history.records import Record
from writ_contracts.inventory import Agents, Inventory
from writ_contracts.journal import Approved, Finished, Granted, PreviewTaken, Rejected
from writ_contracts.life import AcceptedLife, DispatchedLife, State, fold
from writ_contracts.people.approvals import Approval, ApprovalMessage, ApprovalReply
from writ_contracts.people.previews import Preview
from writ_contracts.requests import RequestReply
from writ_contracts.wire import decode, decode_event, encode, event_of
from writ_documents.readers import read_agents, read_inventory
from writ_executor.config import ExecutorConfig
from writ_executor.journal.shared_keys import SharedKeys
from writ_executor.metrics import metrics as executor_metrics
from writ_executor.service import Executor
from writ_policy.metrics import metrics
from writ_policy.service import PolicyService
from writ_runtime.files.watched_file import WatchedFile
from writ_testing.eventually import eventually
from writ_testing.exhaustive import some
from writ_testing.fakes.scripted_agent import ScriptedAgent
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_trust.approvals import sign_approval
from writ_trust.digests import plain_digest
from writ_trust.keys import Key, generate_seed
from writ_trust.parameter_keys import ParameterKeys
from writ_trust.statements import digest, read, sign

PEOPLE = ("bob", "carol", "dave")
PARAMS = SharedKeys(ParameterKeys(used=(bytes(range(32)),)))
SHORT = 0.4
"""Seconds in which an approved operation has to start: the machine waits for the end of each."""
STEPS = st.one_of(
    st.tuples(st.sampled_from(["approve", "reject"]), st.sampled_from(["alice", *PEOPLE])),
    st.tuples(st.just("role"), st.sampled_from(PEOPLE), st.sampled_from([["approver"], ["lead"], []])),
    st.tuples(st.just("policy"), st.sampled_from([NEEDS, TWO])),
    st.tuples(st.sampled_from(["cancel", "claim"])),
    st.tuples(st.just("wait"), st.sampled_from([60.0, 3_000.0])),
)
RESTARTS = st.sampled_from(["", "policy", "executor", "both"])


class Services:
    """A policy service and an executor over one broker; each can be replaced by a new process of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.broker, self.clock = folder, Broker(), Clock()
        self.broker.disk.clock = self.clock
        self.files: Files = files(folder)
        self.bus = MemoryBus(self.broker)
        self.hands = ScriptedAgent(self.bus, "a")
        self.files.keys["agent-a"] = self.hands.key
        pools = [{"pool": pool, "key": self.files.keys[f"agent-{pool}"].public} for pool in "ab"]
        self.files.write("agents", {"agents": pools})
        self._policy = contextlib.AsyncExitStack()
        self._executor = contextlib.AsyncExitStack()

    async def policy(self) -> None:
        await self._policy.aclose()
        config = self.files.config(state_dir=self.folder / "policy-state")
        service = PolicyService(config, CATALOGUE, self.files.keys["policy"], metrics(), self.clock)
        bus = MemoryBus(self.broker)
        await service.serve(bus)
        following = asyncio.create_task(service.follow())
        self._policy.push_async_callback(bus.close)
        self._policy.push_async_callback(_cancelled, following)
        self._policy.push_async_callback(service.stop)

    async def executor(self) -> None:
        """Replace the executor without a shutdown: its work stays as it is."""
        await self._executor.aclose()
        config = ExecutorConfig(
            nats_url="memory",
            installation="",
            key_file=Path("none"),
            policy_key=self.files.keys["policy"].public,
            params_key_file=Path("none"),
            inventory=self.files.path("inventory"),
            agents=self.files.path("agents"),
            sweep=0.02,
            queue_window=SHORT,
            start_window=SHORT,
            rate=10_000,
        )
        inventory = WatchedFile[Inventory](config.inventory, read_inventory)
        agents = WatchedFile[Agents](config.agents, read_agents)
        bus = MemoryBus(self.broker)
        one = Executor(config, bus, PARAMS, CATALOGUE, inventory, agents, executor_metrics())
        await one.serve()
        running = asyncio.create_task(one.run())
        self._executor.push_async_callback(bus.close)
        self._executor.push_async_callback(one.background.settle, 0.0)
        self._executor.push_async_callback(_cancelled, running)

    async def restart(self, which: str) -> None:
        """Replace one of them, or both."""
        if which in ("policy", "both"):
            await self.policy()
        if which in ("executor", "both"):
            await self.executor()

    async def close(self) -> None:
        await self._executor.aclose()
        await self._policy.aclose()
        await self.bus.close()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Play:
    """One pending operation of alice, and the model's state of it."""

    def __init__(self, services: Services, rule: dict[str, Any]) -> None:
        self.services, self.rule = services, rule
        self.roles: dict[str, list[str]] = {"bob": ["approver"], "carol": ["approver"], "dave": ["lead"]}
        self.approved: list[str] = []
        self.operation_id = ""
        self.held: Any = None

    async def request(self) -> None:
        self.services.files.policy(self.rule)
        requested = {"target": "web-a", "parameters": {"service_name": "nginx"}, "idempotency_key": "one"}
        reply = await self._send(subjects.request("alice", "service_restart"), json.encode(requested), "alice")
        answer = decode(reply, RequestReply)
        assert answer.state == "awaiting_approval", answer
        self.operation_id = answer.operation_id or ""
        await self._preview()

    async def _preview(self) -> None:
        """Record the signed preview of the pool's agent."""
        last, requested = (await self.records())[-1], (await self.life()).requested
        preview = Preview(
            operation_id=self.operation_id,
            operation="service_restart",
            target="web-a",
            pool="a",
            instance="one",
            look_digest="ab" * 32,
            parameters_digest=read(requested.decision, Decision).parameters_digest,
            taken_at=self.services.clock.now,
            shown={"would": "restart"},
        )
        event = PreviewTaken(
            id="preview",
            at=self.services.clock.now,
            correlation_id="c",
            operation_id=self.operation_id,
            preview=sign(self.services.hands.key, preview),
        )
        own = ("alice", self.operation_id)
        entry = Entry(
            subject=subjects.operation_event(*own, "preview_taken"),
            data=encode(event),
            event_id=event.id,
            filter=subjects.operation_filter(*own),
            expected=last.sequence,
        )
        await self.services.bus.journal.append(entry)

    async def _send(self, subject: str, data: bytes, who: str) -> bytes:
        user = json.encode({"user": self.services.files.keys[who].public}).decode()
        headers = {"Nats-Request-Info": user}
        return (await self.services.bus.request(subject, data, timeout=20, headers=headers)).data

    async def records(self) -> list[Record]:
        return await self.services.bus.journal.read(subjects.operation_filter("alice", self.operation_id))

    async def events(self) -> list[Any]:
        return [decode_event(record.data) for record in await self.records()]

    async def life(self) -> AcceptedLife:
        life = fold((record.sequence, event_of(record.subject, record.data)) for record in await self.records())  # type: ignore[misc]
        assert isinstance(life, AcceptedLife)
        return life

    async def play(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("approve" | "reject") as verdict, who:
                await self._verdict(verdict, who)
            case "role", who, roles:
                self.roles[who] = roles
                known(self.services, self.roles)
            case "policy", rule:
                self.rule = rule
                self.services.files.policy(rule)
            case "wait", seconds:
                self.services.clock.now += seconds
                await self.services.restart("executor")  # it reads the server's clock at its first sight
            case ("cancel",):
                requested = {"target": "writ", "parameters": {"operation_id": self.operation_id}}
                await self._send(subjects.request("alice", "operation_cancel"), json.encode(requested), "alice")
            case ("claim",):
                await self._claim()

    async def _verdict(self, verdict: str, who: str) -> None:
        records, life = await self.records(), await self.life()
        requested = life.requested
        approval = Approval(
            operation_id=self.operation_id,
            requested=plain_digest(records[0].data),
            decision_digest=digest(requested.decision),
            step="restarts#2" if self._first_step_is_done() else "restarts#1",
            verdict=verdict,  # type: ignore[arg-type]
            approver=who,
            issued_at=self.services.clock.now,
            nonce=f"{len(records):02}" * 32,
            preview=life.preview_digest or None,
        )
        signed = sign_approval(self.services.files.keys[who], approval)
        message = encode(ApprovalMessage(principal="alice", approval=signed))
        answer = decode(await self._send(subjects.approval(who), message, who), ApprovalReply)
        if answer.error is None and verdict == "approve":
            assert who in PEOPLE
            assert who not in self.approved
            self.approved.append(who)

    def _first_step_is_done(self) -> bool:
        return len([who for who in self.approved if "approver" in self.roles[who]]) >= 2

    async def _claim(self) -> None:
        life = await self.life()
        if life.state is not State.DISPATCHED or not isinstance(life, DispatchedLife):
            return
        held = await self.services.hands.claim(life.dispatched)
        if held.answer.grant is not None:
            assert self.suffices(), (self.approved, self.roles, self.rule)
            self.held = held

    def suffices(self) -> bool:
        """Return true if the approvals, with present roles, satisfy the present policy."""
        approvers = [who for who in self.approved if "approver" in self.roles[who]]
        if self.rule is NEEDS:
            return bool(approvers)
        return len(approvers) >= 2 and any("lead" in self.roles[who] for who in self.approved)

    async def end(self) -> None:
        """Let all times pass; assert that it ends."""
        life = await self.life()
        if self.held is not None and isinstance(life, DispatchedLife):
            await self.services.hands.finish(life.dispatched, self.held)
        self.services.clock.now += 7_200
        await self.services.restart("both")
        await eventually(self._has_ended, what=f"its end, of {await self.life()}")

    async def _has_ended(self) -> bool:
        return (await self.life()).outcome is not None


def known(services: Services, roles: dict[str, list[str]]) -> None:
    keys, people = services.files.keys, {"alice": ["operator"], **roles}
    entries = [{"id": who, "kind": "human", "roles": has, "key": keys[who].public} for who, has in people.items()]
    services.files.write("principals", {"principals": entries})


async def played(rule: dict[str, Any], steps: list[tuple[tuple[Any, ...], str]], folder: Path) -> list[Any]:
    services = Services(folder)
    for name in PEOPLE:
        services.files.keys.setdefault(name, Key(generate_seed()))
    play = Play(services, rule)
    known(services, play.roles)
    services.files.policy(rule)
    await services.restart("both")
    try:
        await play.request()
        for step, restart in steps:
            await play.play(step)
            await services.restart(restart)
        await play.end()
        events = await play.events()
        assert len([event for event in events if isinstance(event, Granted)]) <= 1
        assert len([event for event in events if isinstance(event, Approved | Rejected)]) <= 1
        approved = [event for event in events if isinstance(event, Approved)]
        assert all(len(one.approvals) >= 1 for one in approved)
        if isinstance(events[-1], Finished) and events[-1].outcome == "succeeded":
            assert approved
        return events
    finally:
        await services.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("examples", some([6, 150], 6))
def test_an_approval_lives_through_restarts_of_every_service_between_any_two_steps(examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.sampled_from([NEEDS, TWO]), st.lists(st.tuples(STEPS, RESTARTS), min_size=3, max_size=10))
    def lives(rule: dict[str, Any], steps: list[tuple[tuple[Any, ...], str]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(played(rule, steps, Path(folder)))

    lives()


def test_an_approved_operation_starts_and_ends_across_restarts() -> None:
    """The plain way, of which a random order rarely reaches the end."""
    ways = ["policy", "executor", "both", "both", ""]
    steps = [("approve", "bob"), ("approve", "carol"), ("approve", "dave"), ("claim",)]
    with tempfile.TemporaryDirectory() as folder:
        events = asyncio.run(played(TWO, list(zip(steps, ways, strict=False)), Path(folder)))
    assert any(isinstance(event, Approved) for event in events)
