"""Whichever permanent task of an executor ends, the executor ends with it, and says so."""

import asyncio

import pytest
from tests.executor.conftest import World

from writ_bus import tasks
from writ_executor.journal.follower import Follower
from writ_executor.journal.storage_watch import StorageWatch
from writ_executor.rounds.sweep import Sweep
from writ_runtime.clocks import ServerClock
from writ_runtime.journal_guard import JournalGuard
from writ_runtime.watched_file import Watched

TASKS = {
    "journal": (Follower, "follow"),
    "sweep": (Sweep, "run"),
    "clock": (ServerClock, "follow"),
    "guard": (JournalGuard, "watch"),
    "storage": (StorageWatch, "watch"),
    "files": (Watched, "follow"),
}


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("raises", [True, False])
async def test_an_executor_ends_with_any_of_its_permanent_tasks(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str, raises: bool
) -> None:
    executor = await world.executor()

    async def ends(*_: object) -> None:
        if raises:
            raise ValueError("injected")

    monkeypatch.setattr(*TASKS[name], ends)
    tasks.take_ended()
    with pytest.raises(ExceptionGroup) as ended:
        await asyncio.wait_for(executor.run(), 10)
    errors = {type(error) for error in ended.value.exceptions}
    assert errors == {ValueError if raises else tasks.TaskEnded}
    assert tasks.take_ended().keys() == {name}
