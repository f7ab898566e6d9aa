"""An AI agent requests an approval window over MCP, a person opens it, and its uses need no approval of their own."""

from typing import Any

import pytest
from mcp import Client
from tests.gateway.conftest import call, serving
from tests.gateway.test_approvals import decided, requested
from tests.gateway.test_http import token
from tests.gateway.test_identity import client

from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")
WINDOW: dict[str, Any] = {"operations": ["test_sleep"], "targets": ["db-1"], "uses": 1, "seconds": 600}


async def asked(mcp: Client, **changes: Any) -> dict[str, Any]:
    return await call(mcp, "request_approval_window", **{**WINDOW, "reason": "naps", **changes})


async def names(mcp: Client) -> set[str]:
    return {tool.name for tool in (await mcp.list_tools()).tools}


async def waits_for_approval(mcp: Client) -> bool:
    found = await requested(mcp)
    if found["status"] == "awaiting_approval":
        await call(mcp, "cancel_operation", operation_id=found["operation_id"], reason="tried")
    return bool(found["status"] == "awaiting_approval")


async def test_a_window_of_an_agent_opens_by_a_person_and_is_used_as_often_as_it_says(
    installation: RunningInstallation,
) -> None:
    async with serving(installation) as mcp:
        window = await asked(mcp)
        assert (window["status"], window["approvers"]) == ("awaiting_approval", ["carol"])  # not alice, its human
        assert await waits_for_approval(mcp)  # a window that is not open stands for nothing
        await decided(installation, "approve", window["operation_id"])
        opened = await call(mcp, "wait_for_operation", operation_id=window["operation_id"], wait=30)
        assert opened["status"] == "succeeded"
        assert not await waits_for_approval(mcp)
        assert await waits_for_approval(mcp)


async def test_the_tool_is_listed_where_windows_may_be_requested_and_requests_be_signed(
    installation: RunningInstallation, url: str
) -> None:
    async with serving(installation) as mcp:
        assert "request_approval_window" in await names(mcp)
        assert (await call(mcp, "search_operations", query="window"))["operations"] == []
    async with serving(installation, "full", read_only=True) as mcp:
        assert "request_approval_window" not in await names(mcp)
    http, connected = client(url, await token(installation))
    async with http, connected as mcp:
        assert "request_approval_window" not in await names(mcp)
        assert (await asked(mcp))["code"] == "for_people"


async def test_a_window_for_what_no_window_stands_for_is_refused(installation: RunningInstallation) -> None:
    wrong: list[dict[str, Any]] = [{"uses": 0}, {"targets": []}, {"targets": ["web-9"]}, {"seconds": 10**7}]
    async with serving(installation) as mcp:
        for changes in ({"operations": ["policy_publish"]}, {"operations": ["test_noop"]}, *wrong):
            refused = await asked(mcp, **changes)
            assert refused["status"] in ("error", "invalid", "denied"), changes
