"""Waiting operations name their reason: the lock of another operation, a limit, a missing agent."""

from typing import Any

import pytest
from msgspec import json, structs
from tests.contracts.messages import sample
from tests.executor.agent_requests import heartbeat
from tests.executor.conftest import POOL, World

from writ_contracts import subjects
from writ_contracts.agents import Heartbeat
from writ_contracts.decisions import RuleLimit
from writ_contracts.journal import Dispatched, Granted, Requested
from writ_contracts.life import AcceptedLife, DispatchedLife, GrantedLife, State
from writ_contracts.requests import OperationReply, OperationsReply, Verdict, WaitingReason
from writ_contracts.wire import decode
from writ_executor.agents.presence import AgentPresence
from writ_executor.agents.wait_notices import WaitNotices
from writ_executor.journal.index import Index
from writ_executor.requests.waiting_reasons import WaitingReasons
from writ_testing.eventually import eventually

RESTART = {"parameters": {"service_name": "nginx"}}


async def waits(world: World, operation_id: str) -> WaitingReason | None:
    query = json.encode({"operation_id": operation_id})
    message = await world.bus.request(subjects.query("alice", "operation"), query, timeout=10)
    answer = decode(message.data, OperationReply)
    assert answer.operation is not None
    return answer.operation.waiting


async def until_waiting(world: World, operation_id: str, kind: str) -> WaitingReason:
    found: list[WaitingReason] = []

    async def check() -> bool:
        reason = await waits(world, operation_id)
        found.extend([reason] if reason and reason.kind == kind else [])
        return bool(found)

    await eventually(check)
    return found[0]


async def request_restart(world: World, **wish: object) -> str:
    return (await world.ask("service_restart", **RESTART, **wish)).operation_id or ""


async def test_an_operation_behind_another_ones_lock_names_it(world: World) -> None:
    await world.executor()
    first, second = await request_restart(world), await request_restart(world)
    await world.hands.claim(await world.work(first))
    reason = await until_waiting(world, second, "target")
    assert reason.operation_id == first
    assert reason.text == f"waits for web-1: service_restart {first} holds its lock (started)"
    message = await world.bus.request(subjects.query("alice", "operations"), b"{}", timeout=10)
    opened = {one.operation_id: one.waiting for one in decode(message.data, OperationsReply).operations}
    assert opened == {first: None, second: reason}


async def test_a_reached_limit_is_named_with_its_rule(world: World) -> None:
    other = world.targets[0].__class__(id="web-2", role="production", backend="local", agent=POOL)
    world.targets.append(other)
    world.policy.know([other])
    world.policy.limits["service_restart"] = [RuleLimit(rule="one by one", kind="max_concurrent", most=1)]
    await world.executor()
    first, second = await request_restart(world), await request_restart(world, target="web-2")
    await world.hands.claim(await world.work(first))
    reason = await until_waiting(world, second, "limit")
    assert (reason.rule, reason.text) == (
        "one by one",
        "waits for a limit: rule 'one by one' allows 1 operation at once",
    )


async def test_a_dispatched_operation_says_that_no_agent_is_there_or_none_is_free(world: World) -> None:
    await world.executor(lease=0.3)
    operation_id = await request_restart(world)
    assert (
        await until_waiting(world, operation_id, "agent")
    ).text == f"waits for an agent of pool {POOL}: none is online"

    async def busy() -> bool:
        await heartbeat(world, free=0)
        reason = await waits(world, operation_id)
        return reason is not None and "(1) are busy" in reason.text

    await eventually(busy)


async def test_running_and_ended_operations_wait_for_nothing(world: World) -> None:
    await world.executor()
    operation_id = await request_restart(world)
    work = await world.work(operation_id)
    held = await world.hands.claim(work)
    assert await waits(world, operation_id) is None
    await world.hands.finish(work, held)
    assert await world.outcome(operation_id) == "succeeded"
    assert await waits(world, operation_id) is None


def accepted(state: State, sequence: int, requested: Requested) -> AcceptedLife:
    return AcceptedLife(state=state, sequence=sequence, first_sequence=1, requested=requested, phase=requested)


def test_nothing_waits_for_a_request_before_it_that_people_have_to_approve() -> None:
    allowed = Verdict(decision="allow", rules=[], reason="", code="allowed")
    one: Any = structs.replace(
        sample(Requested), target="web-1", risk="change", limits=[], dry_run=False, verdict=allowed
    )
    needs: Any = structs.replace(
        one, operation_id="a" * 26, verdict=structs.replace(allowed, decision="require_approval")
    )
    behind = AcceptedLife(state=State.REQUESTED, sequence=3, first_sequence=3, requested=one, phase=one)
    index = Index()
    index.put(accepted(State.AWAITING_APPROVAL, 2, needs))
    index.put(behind)
    assert index.ahead_of(behind) is None
    index.put(accepted(State.APPROVED, 4, needs))
    ahead = index.ahead_of(behind)
    assert ahead is not None
    assert ahead.requested == needs


def heard(instance: str) -> Heartbeat:
    return Heartbeat(pool=POOL, instance=instance, running=[], free_slots=1, operations=[], version="0")


class Listening:
    """What an executor has heard of agents, on a clock of its own."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.presence = AgentPresence(15.0, lambda: self.now)
        self.open: dict[str, AcceptedLife] = {}
        self.notices = WaitNotices(self.open.get, lambda: self.now)
        presence, notices = self.presence, self.notices
        self.unstored: str | None = None
        self.undecided: str | None = None
        self._reasons = WaitingReasons(
            Index(),
            presence,
            notices,
            lambda: 5_000.0 + self.now,
            lambda _: "",
            lambda: self.unstored,
            lambda: self.undecided,
        )

    def text(self, life: AcceptedLife) -> str:
        reason = self._reasons.of(life)
        return reason.text if reason is not None else ""

    def silent(self, life: AcceptedLife) -> str:
        reason = self._reasons.of(life)
        return reason.silent if reason is not None else ""


@pytest.mark.parametrize("code", ["unavailable", "timeout", "not_found"])
def test_failed_preview_is_named_by_its_code_and_blames_nobody(code: str) -> None:
    """Also a silent agent, or one that was stopped, is such a failure: it refused nothing."""
    presence, notices = AgentPresence(15.0, lambda: 0.0), WaitNotices(lambda _: None, lambda: 0.0)
    reasons = WaitingReasons(Index(), presence, notices, lambda: 0.0, lambda _: code, lambda: None, lambda: None)
    requested: Any = sample(Requested)
    reason = reasons.of(accepted(State.AWAITING_APPROVAL, 2, requested))
    assert reason is not None
    assert reason.text.endswith(f"; there is no preview yet; the latest try of this executor failed: {code}")


@pytest.mark.parametrize("state", [State.STARTED, State.CANCELLING])
def test_a_started_operation_names_its_agent_once_no_heartbeat_names_it(state: State) -> None:
    requested: Any = structs.replace(sample(Requested), pool=POOL)
    granted: Any = structs.replace(sample(Granted), instance="vm-1")
    dispatched: Any = sample(Dispatched)
    life = GrantedLife(state=state, requested=requested, phase=granted, dispatched=dispatched, started=granted)
    listening = Listening()
    listening.presence.start_lease(POOL, requested.operation_id)
    listening.now += 7.0
    assert listening.text(life) == ""
    listening.now += 1.0
    expected = f"runs on agent vm-1 of pool {POOL}: no heartbeat names it for more than 7 s"
    assert listening.text(life) == expected
    assert listening.silent(life) == "vm-1"
    listening.now += 1.5
    assert listening.text(life) == expected  # the same words for a while: a client shows each change
    listening.now += 590.0
    assert listening.text(life).endswith("for more than 5 min")
    listening.presence.record(structs.replace(heard("vm-1"), running=[requested.operation_id]))
    assert listening.text(life) == ""


def test_an_operation_granted_just_now_is_not_silent_before_its_first_heartbeat() -> None:
    """Another replica passed its grant on, or this one has read the event before policy's reply."""
    requested: Any = structs.replace(sample(Requested), pool=POOL)
    granted: Any = structs.replace(sample(Granted), instance="vm-1")
    dispatched: Any = sample(Dispatched)
    listening = Listening()
    listening.now += 3600.0
    life = GrantedLife(
        state=State.STARTED,
        requested=requested,
        phase=granted,
        dispatched=dispatched,
        started=granted,
        time=5_000.0 + listening.now - 1.0,
    )
    assert listening.text(life) == ""
    listening.now += 7.0
    assert listening.text(life) == f"runs on agent vm-1 of pool {POOL}: no heartbeat names it for more than 7 s"


def test_the_silence_about_an_operation_is_not_counted_from_the_start_of_the_executor() -> None:
    """The sweep forgets an operation that no heartbeat has named for a lease."""
    requested: Any = structs.replace(sample(Requested), pool=POOL)
    granted: Any = structs.replace(sample(Granted), instance="vm-1")
    dispatched: Any = sample(Dispatched)
    life = GrantedLife(state=State.STARTED, requested=requested, phase=granted, dispatched=dispatched, started=granted)
    listening = Listening()
    for _ in range(3600):  # as the sweep, each second
        listening.now += 1.0
        listening.presence.forget_silent()
    listening.presence.record(structs.replace(heard("vm-1"), running=[requested.operation_id]))
    assert listening.text(life) == ""
    for _ in range(17):
        listening.now += 1.0
        listening.presence.forget_silent()
    assert listening.text(life).endswith("no heartbeat names it for more than 10 s")


def test_a_dispatched_operation_names_the_agent_that_missed_a_heartbeat() -> None:
    requested: Any = structs.replace(sample(Requested), pool=POOL)
    dispatched: Any = sample(Dispatched)
    life = DispatchedLife(state=State.DISPATCHED, requested=requested, phase=dispatched, dispatched=dispatched)
    listening = Listening()
    listening.presence.record(heard("vm-1"))
    listening.now += 7.0
    assert listening.text(life) == ""
    listening.now += 1.0
    assert listening.text(life) == f"waits for a reply of vm-1 of pool {POOL}: no heartbeat for more than 7 s"
    assert listening.silent(life) == "vm-1"
    listening.presence.record(heard("vm-2"))
    assert listening.text(life) == ""
    listening.now += 9.0
    assert listening.text(life).startswith(f"waits for a reply of vm-2 of pool {POOL}: no heartbeat")
    listening.now += 15.0
    assert listening.text(life) == f"waits for an agent of pool {POOL}: none is online"
    assert listening.silent(life) == f"pool {POOL}"
