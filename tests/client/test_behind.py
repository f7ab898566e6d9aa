"""The executor that answers may lag behind the one that accepted the request."""

import asyncio

import pytest
from tests.client.scripted_api import ScriptedApi

from writ_client.client import Writ
from writ_client.operations import operation_wait
from writ_contracts.errors import Invalid
from writ_contracts.requests import OperationView
from writ_testing.memory.bus import MemoryBus
from writ_trust.keys import Key, generate_seed


async def test_run_goes_on_though_an_executor_has_not_read_of_the_operation_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(operation_wait, "POLL_SECONDS", 0.05)
    bus = MemoryBus()
    executor = ScriptedApi(bus)
    await executor.serve()
    executor.mute = True
    knows, behind = executor.view, [1, 2]

    def view(number: str) -> OperationView:
        if behind:
            behind.pop()
            raise Invalid("alice has no operation", code="not_found")
        return knows(number)

    monkeypatch.setattr(executor, "view", view)
    async with Writ(MemoryBus(bus.broker), Key(generate_seed()), "alice") as writ, asyncio.timeout(30):
        assert (await writ.run("service_restart", "a")).outcome == "succeeded"
    assert behind == []
    await bus.drain(1.0)
