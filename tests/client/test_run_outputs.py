"""Whole outputs of a run over many targets: asked for after the outcome, which they neither delay nor hide."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.client.scripted_api import ScriptedApi

from writ_client.client import Writ
from writ_client.operations.target_runs import ManyTargets, TargetResult, each_request
from writ_contracts.requests import OperationView
from writ_testing.memory.bus import MemoryBus
from writ_trust.keys import Key, generate_seed


@pytest.fixture
async def writ(executor: ScriptedApi) -> AsyncIterator[Writ]:
    bus = MemoryBus(executor.bus.broker)  # type: ignore[attr-defined]
    async with Writ(bus, Key(generate_seed()), "alice") as client:
        yield client


@pytest.fixture
def asked(writ: Writ, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Let no query for an output have a reply; set once there is such a query."""
    event = asyncio.Event()

    async def silent(_: OperationView) -> OperationView:
        event.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(writ, "with_output", silent)
    return event


async def test_outputs_are_awaited_within_the_time_of_the_run(
    writ: Writ, executor: ScriptedApi, asked: asyncio.Event
) -> None:
    each = each_request("service_restart", key="k", timeout=1.0)
    recap = await asyncio.wait_for(ManyTargets(writ, each, ["web-1"]).run(), 15)
    assert asked.is_set()
    assert [(one.outcome, one.output) for one in recap.results] == [("succeeded", executor.recorded)]


async def test_a_run_that_shows_no_outputs_asks_for_none(writ: Writ, asked: asyncio.Event) -> None:
    recap = await ManyTargets(writ, each_request("service_restart", key="k"), ["web-1"], outputs=False).run()
    assert (recap.counts, asked.is_set()) == ({"succeeded": 1}, False)


async def test_a_run_cancelled_while_it_asks_for_outputs_has_the_outcomes(writ: Writ, asked: asyncio.Event) -> None:
    shown: list[TargetResult] = []
    many = ManyTargets(writ, each_request("service_restart", key="k"), ["web-1"], on_result=shown.append)
    running = asyncio.create_task(many.run())
    await asyncio.wait_for(asked.wait(), 10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert many.recap.counts == {"succeeded": 1}
    assert [one.outcome for one in shown] == ["succeeded"]
