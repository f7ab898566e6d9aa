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

from writ_bus.errors import TimedOut
from writ_contracts.errors import TimedOut as EffectUnknown
from writ_contracts.errors import Unreachable
from writ_gateway import nats_silence
from writ_gateway.nats_silence import SILENT
from writ_installation.processes.report import read_report
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation
from writ_testing.stopwatch import stopwatch

pytestmark = pytest.mark.asyncio(loop_scope="module")
PROMISED = 10.0
"""Seconds for about 6 of silence and the replies to several calls at once."""
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
        # NATS may have got the cancel too late, and the operation has the target's lock.
        await call(client, "cancel_operation", operation_id=open_id, reason="enough")
        await call(client, "wait_for_operation", operation_id=open_id, wait=50)
        again = await call(client, "request_operation", **change)
        assert (again["status"], again["operation_id"]) == ("succeeded", requested["operation_id"])
        assert len((files / "during-silence").read_text().splitlines()) == 1


async def _succeeds(client: Client) -> bool:
    return bool((await call(client, "read", **NOOP))["status"] == "succeeded")


class SlowPings:
    """A bus whose server replies to a ping after a while, as over a link that is busy with a large request."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.replied = 0

    async def ping(self, timeout: float) -> None:
        if timeout < self._seconds:
            raise TimedOut("no pong")
        await asyncio.sleep(0)
        self.replied += 1


async def test_slow_replies_of_nats_are_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_silence, "PAUSE", 0.01)
    slow = SlowPings(4.0)
    async with nats_silence.while_nats_replies(slow, effect=True):  # type: ignore[arg-type]

        async def replied() -> bool:
            return slow.replied > 100

        await eventually(replied)
    monkeypatch.setattr(nats_silence, "SILENT_SECONDS", 0.2)
    for effect, error in ((True, EffectUnknown), (False, Unreachable)):
        with pytest.raises(error, match="does not reply"):
            async with nats_silence.while_nats_replies(slow, effect=effect):  # type: ignore[arg-type]
                await asyncio.Event().wait()
