"""What was requested is answered, though the client ended its input directly afterwards."""

import json
from pathlib import Path
from typing import Any

import pytest
from mcp.types import JSONRPCMessage, jsonrpc_message_adapter
from tests.gateway.test_stdio_messages import INITIALIZE, StdioLines, lines_of

from writ_gateway.open_requests import OpenRequests
from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")


def message(**content: Any) -> JSONRPCMessage:
    return jsonrpc_message_adapter.validate_python({"jsonrpc": "2.0", **content})


def call(number: int, tool: str, **arguments: Any) -> dict[str, Any]:
    return {"id": number, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


async def replies(lines: StdioLines, *messages: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """Send the messages, end the input, and return the replies by id."""
    await lines.call("initialize", **INITIALIZE)
    for one in ({"method": "notifications/initialized"}, *messages):
        lines.input.write(json.dumps({"jsonrpc": "2.0", **one}).encode() + b"\n")
    rest = [json.loads(line) for line in (await lines.rest()).splitlines()]
    return {one["id"]: one["result"] for one in rest if "id" in one}


@pytest.mark.exhaustive
async def test_wait_for_an_outcome_is_answered_with_the_state_soon_after_the_end_of_the_input(
    installation: RunningInstallation, files: Path
) -> None:
    arguments = {"path": str(files / "slow"), "delay": 30.0}
    request = {"operation_type": "test_count", "target_id": "web-1", "parameters": arguments, "reason": "slowly"}
    async with lines_of(installation) as lines:
        found = await replies(lines, call(1, "request_operation", **request))
        number = found[1]["structuredContent"]["operation_id"]
        assert found[1]["structuredContent"]["status"] not in ("succeeded", "error")
    async with lines_of(installation) as lines:
        await replies(lines, call(1, "cancel_operation", operation_id=number))


async def test_request_is_open_until_its_reply_or_its_cancellation() -> None:
    requests = OpenRequests()
    assert await requests.end(0.0)
    for number in (1, "two", 3):
        requests.came(message(id=number, method="ping"))
    requests.left(message(method="notifications/progress", params={"progressToken": 1, "progress": 1}))
    requests.left(message(id=1, result={}))
    requests.left(message(id="two", error={"code": -32601, "message": "x"}))
    assert not await requests.end(0.0)
    requests.came(message(method="notifications/cancelled", params={"requestId": 3}))
    assert await requests.end(0.0)


@pytest.mark.parametrize(("number", "named"), [(7, "7"), ("7", 7)])
async def test_request_that_is_cancelled_by_its_id_of_another_type_is_no_longer_open(
    number: int | str, named: int | str
) -> None:
    """The library cancels it, and sends no reply."""
    requests = OpenRequests()
    requests.came(message(id=number, method="ping"))
    requests.came(message(method="notifications/cancelled", params={"requestId": True}))
    assert not await requests.end(0.0)
    requests.came(message(method="notifications/cancelled", params={"requestId": named}))
    assert await requests.end(0.0)
