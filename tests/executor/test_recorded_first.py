"""Events are recorded before their effect: if the journal accepts nothing, nothing happens."""

import pytest
from tests.executor.conftest import World

from writ_bus.errors import BusRefused, Forbidden
from writ_contracts.errors import WritError
from writ_contracts.requests import Failure

RESTART = {"parameters": {"service_name": "nginx"}, "idempotency_key": "restart-1"}


@pytest.fixture
async def full(world: World) -> World:
    """Return a world with an executor that does not know the size of the journal."""
    one = await world.executor()
    one.admission.measure_fill = _nothing  # type: ignore[method-assign]
    return world


async def _nothing() -> None:
    return None


def fill(world: World) -> int:
    """Leave no room for another event; return how many there were room for."""
    disk = world.broker.disk
    before, disk.max_bytes = disk.max_bytes, disk.bytes
    return before


async def test_a_request_that_cannot_be_recorded_is_not_accepted(full: World) -> None:
    room = fill(full)
    answer = await full.ask("service_restart", **RESTART)
    assert answer.error
    assert (answer.error.code, answer.error.retry, answer.outcome) == ("full", True, None)
    assert await full.records() == []
    full.broker.disk.max_bytes = room
    again = await full.ask("service_restart", **RESTART)
    assert (again.error, await full.kinds(again.operation_id or "")) == (None, ["requested", "dispatched"])


async def test_a_refusal_that_cannot_be_recorded_is_no_outcome(full: World) -> None:
    fill(full)
    answer = await full.ask("no_such_operation")
    assert answer.error
    assert (answer.error.code, answer.outcome) == ("full", None)


async def test_a_start_that_cannot_be_recorded_gives_no_grant(full: World) -> None:
    answer = await full.ask("service_restart", **RESTART)
    work = await full.work(answer.operation_id or "")
    room = fill(full)
    held = await full.hands.claim(work)
    assert held.answer.error
    assert (held.answer.grant, held.answer.sealed, held.answer.error.code) == (None, b"", "full")
    full.broker.disk.max_bytes = room
    assert (await full.hands.claim(work)).answer.grant


@pytest.mark.parametrize(
    ("error", "code"), [(Forbidden("no append"), "unavailable"), (BusRefused("broke"), "internal")]
)
async def test_a_start_that_policy_may_not_record_or_breaks_at_ends_nothing(
    world: World, error: WritError, code: str
) -> None:
    """Executors pass on these codes of policy. The agent asks again; a denial by rules comes as a decision."""
    await world.executor()
    answer = await world.ask("service_restart", **RESTART)
    work = await world.work(answer.operation_id or "")
    world.policy.grant_errors["service_restart"] = Failure(code=error.code, message=str(error), retry=error.retry)
    refused = (await world.hands.claim(work)).answer
    assert refused.error
    assert (refused.grant, refused.error.code, refused.error.retry) == (None, code, True)
    assert await world.kinds(work.operation_id) == ["requested", "dispatched"]
    del world.policy.grant_errors["service_restart"]
    assert (await world.hands.claim(work)).answer.grant


async def test_an_end_that_cannot_be_recorded_is_not_acknowledged(full: World) -> None:
    answer = await full.ask("service_restart", **RESTART)
    work = await full.work(answer.operation_id or "")
    held = await full.hands.claim(work)
    room = fill(full)
    reply = await full.hands.finish(work, held)
    assert (reply.stored, reply.error and reply.error.code) == (False, "full")
    full.broker.disk.max_bytes = room
    assert (await full.hands.finish(work, held)).stored
    assert await full.outcome(work.operation_id) == "succeeded"
