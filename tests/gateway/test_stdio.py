"""`writ mcp stdio` with the SDK's own client, over real pipes and a real installation."""

import json
import os
import signal
from pathlib import Path

import pytest
from mcp import Client
from tests.gateway.conftest import call, command

from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")
SMALL = [
    "search_operations", "describe_operation", "list_targets", "read", "request_operation", "preview_operation",
    "request_approval_window", "simulate_operation", "explain_decision", "get_operation_status",
    "wait_for_operation", "cancel_operation", "list_my_operations", "get_trace",
]  # fmt: skip
TOKENS = 2000
CHARACTERS_PER_TOKEN = 3.5
"""Of JSON, for the tokenizers of current models: a cautious estimate (English prose has 4)."""


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_clients_of_both_protocol_versions_list_and_call_tools(
    installation: RunningInstallation, mode: str
) -> None:
    async with Client(command(installation), mode=mode, cache=None) as client:
        listed = (await client.list_tools()).tools
        done = await call(client, "read", operation_type="test_noop", target_id="web-1")
    assert [tool.name for tool in listed] == SMALL
    assert (done["status"], done["requested_by"]) == ("succeeded", "bot")
    assert done["policy_evaluation"]["decision"] == "allow"
    wire = json.dumps([tool.model_dump(by_alias=True, exclude_none=True) for tool in listed], separators=(",", ":"))
    assert len(wire) / CHARACTERS_PER_TOKEN <= TOKENS


async def test_a_killed_gateway_leaves_the_operation_running_and_the_next_one_finds_it(
    installation: RunningInstallation, files: Path
) -> None:
    """The client waits in the call when its server dies with SIGKILL."""
    arguments = {"path": str(files / "slow"), "delay": 1.5}
    request = {"operation_type": "test_count", "target_id": "web-1", "parameters": arguments, "reason": "slowly"}

    async def kill(progress: float, total: float | None, message: str | None) -> None:
        if message == "granted":
            os.kill(child_of(os.getpid()), signal.SIGKILL)

    with pytest.raises(BaseExceptionGroup):
        async with Client(command(installation), mode="auto", cache=None) as client:
            await client.call_tool(
                "request_operation", {**request, "idempotency_key": "killed"}, progress_callback=kill
            )
    async with Client(command(installation), mode="auto", cache=None) as client:
        again = await call(client, "request_operation", **request, idempotency_key="killed")
        assert again["status"] == "succeeded"
        waited = await call(client, "wait_for_operation", operation_id=again["operation_id"])
        assert waited["status"] == "succeeded"
    assert len((files / "slow").read_text().splitlines()) == 1


def child_of(parent: int) -> int:
    """Return the gateway started by this process."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            command_line = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == parent and b"writ_gateway" in command_line:
            return int(process.name)
    raise AssertionError("no gateway runs")
