"""What agents report that operations wait for is in every replica's replies to queries, while the agents repeat it."""

from typing import Any

import pytest
from msgspec import json, structs
from tests.contracts.messages import sample
from tests.executor.conftest import POOL, World
from tests.executor.test_storage_watch import RESULTS
from tests.executor.test_waiting import RESTART, Listening, accepted, heard, request_restart, until_waiting, waits

from writ_bus.port import Message
from writ_contracts import subjects
from writ_contracts.agents import Progress
from writ_contracts.errors import Unreachable
from writ_contracts.journal import Dispatched, Granted, Requested
from writ_contracts.life import AcceptedLife, DispatchedLife, GrantedLife, State
from writ_contracts.requests import WaitingReason
from writ_contracts.wire import decode
from writ_executor.agents.wait_notices import LIFETIME, MOST
from writ_testing.eventually import eventually


def progress_of(life: AcceptedLife, message: str, silent: str = "") -> Progress:
    requested = life.requested
    return Progress(operation_id=requested.operation_id, principal=requested.principal, message=message, silent=silent)


def running() -> tuple[Listening, GrantedLife]:
    """Return an executor, and an operation whose agent names it in its heartbeats."""
    requested: Any = structs.replace(sample(Requested), pool=POOL)
    granted: Any = structs.replace(sample(Granted), instance="vm-1")
    dispatched: Any = sample(Dispatched)
    life = GrantedLife(state=State.STARTED, requested=requested, phase=granted, dispatched=dispatched, started=granted)
    listening = Listening()
    listening.open[requested.operation_id] = life
    listening.presence.record(structs.replace(heard("vm-1"), running=[requested.operation_id]))
    return listening, life


SILENT = "web-1 has not replied for more than 3 s"


def test_silent_host_is_named_until_its_agent_reports_another_message() -> None:
    listening, life = running()
    listening.notices.record(progress_of(life, SILENT, "web-1"), POOL)
    assert (listening.text(life), listening.silent(life)) == (SILENT, "web-1")
    listening.notices.record(progress_of(life, "web-1 replies again"), POOL)
    assert listening.text(life) == ""
    listening.notices.record(progress_of(life, "waits for the lock of the package system"), POOL)
    assert (listening.text(life), listening.silent(life)) == ("waits for the lock of the package system", "")


def test_wait_for_a_place_is_not_noted_once_another_agent_has_started_the_operation() -> None:
    listening, life = running()
    full = structs.replace(progress_of(life, "waits for web-1: as many run there as may at once (4)"), claimed=False)
    listening.notices.record(full, POOL)
    assert listening.text(life) == ""
    listening.notices.record(progress_of(life, SILENT, "web-1"), POOL)
    listening.notices.record(full, POOL)
    assert listening.text(life) == SILENT


def test_wait_that_its_agent_does_not_repeat_is_forgotten() -> None:
    listening, life = running()
    listening.notices.record(progress_of(life, SILENT, "web-1"), POOL)
    listening.now += LIFETIME
    listening.presence.record(structs.replace(heard("vm-1"), running=[life.requested.operation_id]))
    assert listening.text(life) == SILENT
    listening.now += 0.1
    assert listening.text(life) == ""


def test_wait_is_noted_from_the_pool_of_the_operation_for_its_principal_alone() -> None:
    listening, life = running()
    listening.notices.record(progress_of(life, SILENT, "web-1"), "local-other")
    listening.notices.record(structs.replace(progress_of(life, SILENT, "web-1"), principal="mallory"), POOL)
    listening.notices.record(structs.replace(progress_of(life, SILENT, "web-1"), operation_id="z" * 26), POOL)
    assert listening.text(life) == ""


def test_noted_waits_are_bounded() -> None:
    listening, life = running()
    names = [f"{number:026}" for number in range(MOST + 1)]
    listening.open.update(dict.fromkeys(names, life))
    for name in names:
        listening.notices.record(structs.replace(progress_of(life, SILENT, "web-1"), operation_id=name), POOL)
    assert [listening.notices.reason(name) is not None for name in names[-2:]] == [True, False]
    listening.now += LIFETIME + 1
    listening.notices.record(structs.replace(progress_of(life, SILENT, "web-1"), operation_id=names[-1]), POOL)
    assert [listening.notices.reason(name) is not None for name in names[-2:]] == [False, True]


def test_silent_agent_is_named_rather_than_what_it_reported_before() -> None:
    listening, life = running()
    listening.now += 8.0
    listening.notices.record(progress_of(life, SILENT, "web-1"), POOL)
    assert listening.text(life).startswith("runs on agent vm-1")


@pytest.mark.parametrize("free", [0, 1])
def test_dispatched_operation_names_the_host_that_its_agent_reads(free: int) -> None:
    listening, life = running()
    waits = DispatchedLife(
        state=State.DISPATCHED, requested=life.requested, phase=life.dispatched, dispatched=life.dispatched
    )
    listening.open[life.requested.operation_id] = waits
    listening.presence.record(structs.replace(heard("vm-1"), free_slots=free))
    listening.notices.record(progress_of(waits, SILENT, "web-1"), POOL)
    assert listening.text(waits) == SILENT
    listening.now += 8.0
    listening.notices.record(progress_of(waits, SILENT, "web-1"), POOL)
    assert listening.text(waits).startswith("waits for a reply of vm-1")


def test_wait_from_before_the_start_or_of_a_former_attempt_is_not_named() -> None:
    listening, life = running()
    name = life.requested.operation_id
    listening.open[name] = waits = DispatchedLife(
        state=State.DISPATCHED, requested=life.requested, phase=life.dispatched, dispatched=life.dispatched
    )
    listening.notices.record(progress_of(waits, "waits for its grant: policy does not reply"), POOL)
    assert listening.text(waits) == "waits for its grant: policy does not reply"
    listening.open[name] = life
    assert listening.text(life) == ""
    listening.notices.record(progress_of(life, SILENT, "web-1"), POOL)
    listening.open[name] = cancelling = structs.replace(life, state=State.CANCELLING)
    assert listening.text(cancelling) == SILENT
    again = structs.replace(life.dispatched, attempt=life.dispatched.attempt + 1)
    listening.open[name] = structs.replace(life, dispatched=again)
    assert listening.text(life) == ""


async def test_every_replica_names_the_silent_host(world: World) -> None:
    executors = [await world.executor(), await world.executor()]
    operation_id = await request_restart(world)
    await world.hands.claim(await world.work(operation_id))
    relayed: list[Progress] = []

    async def relay(message: Message) -> None:
        relayed.append(decode(message.data, Progress))

    await world.bus.subscribe(subjects.progress_event("alice", operation_id), relay)
    first = Progress(operation_id=operation_id, principal="alice", message=SILENT, silent="web-1")
    again = structs.replace(first, for_requester=False)
    for progress in (again, first):
        await world.bus.publish(subjects.progress(POOL), json.encode(progress))

    async def both_know() -> bool:
        reasons = [executor.wait_notices.reason(operation_id) for executor in executors]
        return [reason and reason.silent for reason in reasons] == ["web-1", "web-1"] and bool(relayed)

    await eventually(both_know)
    assert relayed == [first]
    reason = await waits(world, operation_id)
    assert reason == WaitingReason(kind="host", text=SILENT, silent="web-1")


def test_operation_whose_next_event_is_not_stored_names_the_reason() -> None:
    """An agent may have ended it: its receipt waits there."""
    listening, life = running()
    assert listening.text(life) == ""
    listening.unstored = "NATS stores nothing in WRIT_JOURNAL"
    assert listening.text(life) == "waits for its next event to be stored: NATS stores nothing in WRIT_JOURNAL"
    ended = structs.replace(life, state=State.ENDED)
    assert listening.text(ended) == ""


def test_approved_operation_names_policy_that_does_not_reply() -> None:
    listening, life = running()
    approved = accepted(State.APPROVED, 2, life.requested)
    requested = accepted(State.REQUESTED, 2, life.requested)
    listening.undecided = "policy does not answer: no reply"
    text = "waits for the decision at its start: policy does not answer: no reply"
    assert [listening.text(approved), listening.text(requested)] == [text, ""]


async def test_running_operation_does_not_wait_for_a_stream_other_than_the_journal(world: World) -> None:
    one = await world.executor()
    operation_id = await request_restart(world)
    await world.hands.claim(await world.work(operation_id))
    world.broker.disk.storing(RESULTS).clear()
    with pytest.raises(Unreachable):
        await one.base.bus.results.put("alice.one", b"x", ttl=60)
    assert "in WRIT_RESULTS" in (one.base.bus.storage_problem or "")
    assert await waits(world, operation_id) is None


async def test_operation_whose_outcome_is_not_stored_names_the_reason(world: World) -> None:
    await world.executor()
    operation_id = await request_restart(world)
    await world.hands.claim(await world.work(operation_id))
    world.broker.disk.stores.clear()
    assert (await world.ask("service_restart", **RESTART)).error is not None
    reason = await until_waiting(world, operation_id, "storage")
    assert reason.text.startswith("waits for its next event to be stored: ")
