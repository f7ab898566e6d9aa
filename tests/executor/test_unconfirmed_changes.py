"""A change that policy follows and NATS has not confirmed ends `unknown`, with all that is known of it."""

import pytest
from tests.executor.conftest import World

from writ_contracts import subjects
from writ_contracts.history.views import latest, view
from writ_contracts.journal import Unknown
from writ_executor.control import principals


async def test_change_that_nats_has_not_confirmed_keeps_its_output(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(principals, "CONFIRMED_WITHIN", 0.2)  # no provisioner is there
    await world.executor()
    pending = await world.ask("service_restart", "bob", parameters={"service_name": "nginx"})
    change = {"action": "disable", "principal_id": "bob"}
    answer = await world.ask("principal_manage", target="writ", parameters=change)
    number = answer.operation_id or ""
    assert await world.outcome(number) == "unknown"
    [stored] = await world.records(subjects.control_event("principal_manage"))
    life = await world.life(number)
    assert isinstance(life.end, Unknown)
    expected = {"id": number, "sequence": stored.sequence, "ended": [pending.operation_id], "running": [], "more": 0}
    assert life.end.output == expected
    shown = view(life, latest(life))
    assert shown is not None
    assert (shown.code, shown.output) == ("not_confirmed", expected)
