"""A frozen NATS server: each call ends within seconds, says what is wrong, and later calls succeed by themselves."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from tests.gateway.conftest import call, command

from writ_gateway.nats_silence import SILENT
from writ_installation.processes.report import read_report
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation
from writ_testing.stopwatch import stopwatch

pytestmark = pytest.mark.asyncio(loop_scope="module")
PROMISED = 10.0
"""Seconds for about 5 of silence and the replies to several calls at once."""
NOOP = {"operation_type": "test_noop", "target_id": "web-1"}


@contextmanager
def frozen_nats(installation: RunningInstallation) -> Iterator[None]:
    report = read_report(installation.home.report_file)
    assert report is not None
    (server,) = (one.pid for one in report.processes if one.name == "nats")
    assert server is not None
    os.kill(server, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server, signal.SIGCONT)


async def text_of_error(listing: Any) -> str:
    with pytest.raises(MCPError) as error:
        await listing
    return str(error.value)


async def test_calls_during_silence_of_nats_end_soon_and_succeed_once_it_replies(
    installation: RunningInstallation, files: Path
) -> None:
    async with Client(command(installation), mode="auto", cache=None) as client:
        slow: dict[str, Any] = {"operation_type": "test_sleep", "parameters": {"seconds": 60}, "target_id": "web-1"}
        open_id = (await call(client, "request_operation", **slow, reason="slow", wait=0))["operation_id"]
        change: dict[str, Any] = {"operation_type": "test_count", "target_id": "web-1", "reason": "once"}
        change |= {"parameters": {"path": str(files / "during-silence"), "delay": 0}, "idempotency_key": "silence"}
        with frozen_nats(installation):
            with stopwatch() as seconds:
                requested, *others = await asyncio.gather(
                    call(client, "request_operation", **change),
                    call(client, "read", **NOOP),
                    call(client, "simulate_operation", **NOOP),
                    call(client, "get_operation_status", operation_id=open_id),
                    call(client, "wait_for_operation", operation_id=open_id, wait=50),
                    call(client, "cancel_operation", operation_id=open_id, reason="enough"),
                )
                lists = await asyncio.gather(
                    text_of_error(client.list_resources()), text_of_error(client.read_resource("writ://targets"))
                )
            assert seconds() < 2 * PROMISED
            assert [one["message"] for one in others] == [SILENT] * len(others)
            assert all(SILENT in text for text in lists)
            assert (requested["code"], requested["idempotency_key"]) == ("timeout", "silence")
            assert SILENT in requested["message"]
        await eventually(lambda: _succeeds(client), within=60)
        again = await call(client, "request_operation", **change)
        assert (again["status"], again["operation_id"]) == ("succeeded", requested["operation_id"])
        assert len((files / "during-silence").read_text().splitlines()) == 1


async def _succeeds(client: Client) -> bool:
    return bool((await call(client, "read", **NOOP))["status"] == "succeeded")
