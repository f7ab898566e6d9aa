"""An agent's permanent task is started again after an exception. The tests read the tasks from its code."""

import pytest
from tests.agent.conftest import TARGET, World, until
from tests.architecture.tree import ROOT, task_names

from writ_agent.reporting.heartbeats import Heartbeats
from writ_bus import tasks
from writ_runtime.clocks import ServerClock
from writ_testing.injection import break_once

TASKS = {"heartbeats": (Heartbeats, "run"), "clock": (ServerClock, "follow")}


@pytest.mark.parametrize("name", sorted(task_names(ROOT / "libs/agent", "keep")))
async def test_an_agent_goes_on_after_an_exception_in_a_permanent_task(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    calls = break_once(monkeypatch, *TASKS[name])
    await world.agent()
    await until(lambda: calls() == 2)
    assert tasks.take_ended() == {name: 1}
    await until(lambda: bool(world.executor.heartbeats))
    operation_id = await world.executor.dispatch("test_noop", TARGET)
    assert (await world.executor.ended(operation_id)).outcome == "succeeded"
