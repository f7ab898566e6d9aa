"""An executor passes on policy's read grant with everything an agent needs for an early read, or nothing."""

from typing import Any

import pytest
from tests.executor.conftest import World

from writ_contracts.decisions import ReadGrant
from writ_contracts.journal import Dispatched
from writ_trust.digests import keyed_digest
from writ_trust.statements import read

PARAMETERS = {"service_name": "nginx"}


async def dispatched(world: World, operation: str, **wish: Any) -> Dispatched:
    answer = await world.ask(operation, parameters=PARAMETERS, **wish)
    return await world.work(answer.operation_id or "")


async def test_read_grant_and_its_parameters_are_in_requested_and_dispatched(world: World) -> None:
    await world.executor()
    work = await dispatched(world, "service_status")
    requested = (await world.accepted(work.operation_id)).requested
    assert work.ahead is not None
    assert work.ahead == requested.ahead
    assert (work.look, requested.look) == (None, None)
    look = read(work.ahead, ReadGrant)
    assert (look.actions, look.operation_id) == (["ahead"], work.operation_id)
    assert keyed_digest(work.look_key, work.parameters) == look.parameters_digest
    (ask,) = world.policy.decides
    assert (ask.look, ask.look_until is None) == ([], False)


@pytest.mark.parametrize("operation", ["service_restart", "network_status"])
async def test_dispatch_has_no_early_read_of_other_operations(world: World, operation: str) -> None:
    await world.executor()
    answer = await world.ask(operation, parameters=PARAMETERS if operation == "service_restart" else {})
    work = await world.work(answer.operation_id or "")
    assert work.ahead is None
    assert (work.look is None) == (operation == "network_status")


async def test_dispatch_has_no_early_read_if_the_record_omits_the_parameters(world: World) -> None:
    await world.executor(audit_level="minimal")
    work = await dispatched(world, "service_status")
    assert (work.parameters, work.ahead, work.look, work.look_key) == ({}, None, None, "")


async def test_a_dry_run_requests_no_early_read(world: World) -> None:
    await world.executor()
    await world.ask("service_status", parameters=PARAMETERS, dry_run=True)
    assert world.policy.decides[0].look_until is None
