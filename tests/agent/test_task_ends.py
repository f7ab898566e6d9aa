"""A permanent task of an agent that an exception ends is started again."""

import pytest
from tests.agent.conftest import TARGET, World, until

from writ_agent.reporting.heartbeats import Heartbeats
from writ_bus import tasks
from writ_runtime.clocks import ServerClock

TASKS = {"heartbeats": (Heartbeats, "run"), "clock": (ServerClock, "follow")}


@pytest.mark.parametrize("name", TASKS)
async def test_an_agent_goes_on_after_an_exception_in_a_permanent_task(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kind, method = TASKS[name]
    whole, turns = getattr(kind, method), 0

    async def breaks_once(self: object) -> None:
        nonlocal turns
        turns += 1
        if turns == 1:
            raise ValueError("injected")
        await whole(self)

    monkeypatch.setattr(kind, method, breaks_once)
    monkeypatch.setattr(tasks, "FIRST_PAUSE", 0.01)
    await world.agent()
    await until(lambda: turns == 2)
    await until(lambda: bool(world.executor.heartbeats))
    operation_id = await world.executor.dispatch("test_noop", TARGET)
    assert (await world.executor.ended(operation_id)).outcome == "succeeded"
