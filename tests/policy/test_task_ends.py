"""Policy ends with any of its permanent tasks. The tasks are read from its code."""

import asyncio
from pathlib import Path

import pytest
from tests.architecture.tree import ROOT, task_names
from tests.policy.replica import files
from tests.rules.asking import CATALOGUE

from writ_bus import tasks
from writ_policy import service
from writ_policy.metrics import metrics
from writ_policy.service import PolicyService
from writ_testing.injection import InjectedError, break_unending
from writ_testing.memory.bus import MemoryBus


@pytest.mark.parametrize("name", sorted(task_names(ROOT / "services/policy", "unending")))
async def test_policy_ends_with_any_of_its_permanent_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    known = files(tmp_path)
    policy = PolicyService(known.config(), CATALOGUE, known.keys["policy"], metrics())
    await policy.serve(MemoryBus())
    break_unending(monkeypatch, service, name)
    tasks.take_ended()
    with pytest.raises(ExceptionGroup) as ended:
        await asyncio.wait_for(policy.follow(), 10)
    await policy.stop()
    assert {type(error) for error in ended.value.exceptions} == {InjectedError}
    assert tasks.take_ended().keys() == {name}
