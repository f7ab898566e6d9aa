"""A wait for an outcome passes on that nobody replies."""

import asyncio

import pytest
from tests.client.scripted_api import ScriptedApi

from writ_cli.operations.running.progress_line import event_text
from writ_client.client import Writ
from writ_client.operations import operation_wait
from writ_client.operations.operation_events import Event
from writ_contracts.requests import OperationView


@pytest.mark.parametrize(("late", "shown"), [(False, 0), (True, 2)])
async def test_run_passes_on_that_a_query_gets_no_reply_for_long(
    writ: Writ, executor: ScriptedApi, monkeypatch: pytest.MonkeyPatch, late: bool, shown: int
) -> None:
    monkeypatch.setattr(operation_wait, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(operation_wait, "SILENT_SECONDS", 0.05 if late else 60.0)
    executor.mute = True
    get, heard, noticed = writ.get, list[str](), asyncio.Event()

    def on_event(event: Event) -> None:
        heard.append(event_text(event))
        if heard[-1] == operation_wait.SILENT:
            noticed.set()

    async def slow(operation_id: str) -> OperationView:
        if late:
            await noticed.wait()
        return await get(operation_id)

    monkeypatch.setattr(writ, "get", slow)
    async with asyncio.timeout(20):
        done = await writ.run("service_restart", "a", on_event=on_event)
    texts = [operation_wait.SILENT, f"replies come again: it is {done.state}"]
    assert [text for text in heard if text in texts] == texts[:shown]
