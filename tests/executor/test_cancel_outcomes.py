"""A cancel whose stop nobody confirmed is resolved by the end of its operation, and then holds up no archive."""

import asyncio
from typing import Literal

import pytest
from tests.executor.agent_requests import serve_agent
from tests.executor.conftest import World

from writ_contracts.journal import Finished, Resolved, Unknown
from writ_executor.control import operations, principals
from writ_executor.journal.index import Index

RESTART = {"parameters": {"service_name": "nginx", "timeout": 60}}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave an operation no time to end before its cancel is recorded as unconfirmed."""
    monkeypatch.setattr(operations, "RECEIPT_SECONDS", 0.0)


async def resolved(world: World, operation_id: str) -> Resolved:
    async def check() -> Resolved | None:
        end = (await world.life(operation_id)).end
        return end if isinstance(end, Resolved) else None

    return await world.until(check)


@pytest.mark.parametrize("reply", ["not_confirmed", "not_running"])
async def test_cancel_waits_for_the_receipt_of_an_operation_that_ends_just_now(world: World, reply: str) -> None:
    await world.executor()
    work = await world.work((await world.ask("service_restart", **RESTART)).operation_id or "")
    held = await world.hands.claim(work)
    late = list[asyncio.Task[object]]()

    async def send_receipt() -> None:
        late.append(asyncio.create_task(world.hands.finish(work, held)))  # it is on its way when the agent replies

    await serve_agent(world, cancelled=reply, before_cancel=send_receipt)
    cancel = await world.ask("operation_cancel", target="writ", parameters={"operation_id": work.operation_id})
    assert await world.outcome(cancel.operation_id or "") == "failed"
    end = (await world.life(cancel.operation_id or "")).end
    assert isinstance(end, Finished)
    assert (end.code, end.message) == ("not_cancellable", "it has already ended: succeeded")
    await asyncio.gather(*late)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("cancelled", ("succeeded", "", "", "stopped")),
        ("succeeded", ("failed", "not_cancellable", "it has already ended: succeeded", "ended")),
        ("failed", ("failed", "not_cancellable", "it has already ended: failed", "ended")),
    ],
)
@pytest.mark.parametrize("replicas", [1, 2])
async def test_unconfirmed_cancel_is_resolved_by_the_end_of_its_operation(
    world: World,
    outcome: Literal["succeeded", "failed", "cancelled"],
    expected: tuple[str, str, str, str],
    replicas: int,
) -> None:
    for _ in range(replicas):
        await world.executor()
    await serve_agent(world, cancelled="not_confirmed")
    victim = (await world.ask("service_restart", **RESTART)).operation_id or ""
    work = await world.work(victim)
    held = await world.hands.claim(work)
    cancel = await world.ask("operation_cancel", target="writ", parameters={"operation_id": victim})
    number = cancel.operation_id or ""
    assert await world.outcome(number) == "unknown"
    assert isinstance((await world.life(number)).end, Unknown)
    await world.hands.finish(work, held, outcome=outcome, effect="maybe")
    assert await world.outcome(victim) == outcome
    end = await resolved(world, number)
    assert (end.outcome, end.code, end.message, end.output["result"]) == expected
    assert end.how == "receipt"
    assert (await world.kinds(number)).count("resolved") == 1
    assert not list((await index_of(world)).unknown())


@pytest.mark.usefixtures("impatient")
async def test_unconfirmed_cancel_of_an_unknown_operation_waits_for_its_late_receipt(world: World) -> None:
    await world.executor()
    await serve_agent(world, cancelled="not_confirmed")
    victim = (await world.ask("service_restart", **RESTART)).operation_id or ""
    work = await world.work(victim)
    held = await world.hands.claim(work)
    cancel = await world.ask("operation_cancel", target="writ", parameters={"operation_id": victim})
    number = cancel.operation_id or ""
    assert await world.outcome(number) == "unknown"
    await world.hands.finish(work, held, outcome="unknown", effect="maybe", code="lost")
    assert await world.outcome(victim) == "unknown"
    may_be_resolved = [life.requested.operation_id for life in (await index_of(world)).unknown()]
    assert sorted(may_be_resolved) == sorted([victim, number])
    await world.hands.finish(work, held, outcome="succeeded", effect="done")
    assert (await resolved(world, number)).outcome == "failed"
    assert (await world.life(victim)).sequence < (await world.life(number)).sequence
    assert not list((await index_of(world)).unknown())


async def test_control_operation_that_nothing_can_resolve_holds_up_no_archive(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(principals, "CONFIRMED_WITHIN", 0.2)  # no provisioner is there
    await world.executor()
    change = {"action": "disable", "principal_id": "bob"}
    answer = await world.ask("principal_manage", target="writ", parameters=change)
    assert await world.outcome(answer.operation_id or "") == "unknown"
    index = await index_of(world)
    assert not list(index.unknown())
    assert index.get(answer.operation_id or "") is not None


async def index_of(world: World) -> Index:
    """Return an index which has read the whole journal."""
    index = Index()
    for record in await world.records():
        index.read(record.sequence, record.subject, record.data)
    return index
