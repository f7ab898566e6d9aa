"""An AI agent's MCP request needs an approval, or an approval window, and a person decides by `writ`."""

import asyncio
from typing import Any

import pytest
from mcp import Client
from tests.gateway.conftest import call, serving
from tests.gateway.test_http import token
from tests.gateway.test_identity import client

from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")
WINDOW: dict[str, Any] = {"operations": ["test_sleep"], "targets": ["db-1"], "uses": 1, "seconds": 600}


async def requested(client: Client) -> dict[str, Any]:
    request: dict[str, Any] = {"operation_type": "test_sleep", "target_id": "db-1"}
    request["parameters"] = {"seconds": 0.1, "processes": 0}
    return await call(client, "request_operation", **request, reason="a nap")


async def decided(installation: RunningInstallation, verdict: str, operation_id: str) -> None:
    """Decide as carol, in a terminal."""
    yes = ["--yes"] if verdict == "approve" else []
    ended = await installation.writ("approvals", verdict, operation_id, "--as", "carol", "--reason", "seen", *yes)
    assert ended.status == 0, ended


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_agent_gets_a_handle_a_person_approves_and_the_wait_ends(
    installation: RunningInstallation, mode: str
) -> None:
    async with serving(installation, mode=mode) as client:
        operation = await requested(client)
        assert operation["status"] == "awaiting_approval"
        assert operation["approvers"] == ["carol"]  # not alice, for whom the agent acts
        assert operation["policy_evaluation"]["decision"] == "require_approval"
        assert "asking again does not help" in operation["advice"]
        assert operation["next"]["tool"] == "wait_for_operation"
        still = await call(client, "wait_for_operation", operation_id=operation["operation_id"], wait=0)
        assert still["status"] == "awaiting_approval"
        waiting = asyncio.create_task(
            call(client, "wait_for_operation", operation_id=operation["operation_id"], wait=50)
        )
        await decided(installation, "approve", operation["operation_id"])
        assert (await waiting)["status"] == "succeeded"


async def test_a_rejection_is_an_outcome_with_advice(installation: RunningInstallation) -> None:
    async with serving(installation) as client:
        operation = await requested(client)
        await decided(installation, "reject", operation["operation_id"])
        ended = await call(client, "wait_for_operation", operation_id=operation["operation_id"])
        assert ended["status"] == "rejected"
        assert "A person said no" in ended["advice"]


async def request_window(mcp: Client, **changes: Any) -> dict[str, Any]:
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
        window = await request_window(mcp)
        assert (window["status"], window["approvers"]) == ("awaiting_approval", ["carol"])  # not alice, its human
        assert await waits_for_approval(mcp)  # a window that is not open stands for nothing
        await decided(installation, "approve", window["operation_id"])
        opened = await call(mcp, "wait_for_operation", operation_id=window["operation_id"], wait=30)
        assert opened["status"] == "succeeded"
        assert not await waits_for_approval(mcp)
        assert await waits_for_approval(mcp)


async def test_an_agent_ends_its_own_window_and_no_other(installation: RunningInstallation) -> None:
    async with serving(installation, "full") as mcp:
        window = await request_window(mcp, uses=5)
        await decided(installation, "approve", window["operation_id"])
        await call(mcp, "wait_for_operation", operation_id=window["operation_id"], wait=30)
        assert (await call(mcp, "end_approval_window", window_id="a" * 26))["status"] != "succeeded"
        ended = await call(mcp, "end_approval_window", window_id=window["operation_id"], reason="done")
        assert ended["status"] == "succeeded", ended
        assert await waits_for_approval(mcp)


async def test_the_tool_is_listed_where_windows_may_be_requested_and_requests_be_signed(
    installation: RunningInstallation, url: str
) -> None:
    async with serving(installation, "full") as mcp:
        assert {"request_approval_window", "end_approval_window"} <= await names(mcp)
        assert (await call(mcp, "search_operations", query="window"))["operations"] == []
    async with serving(installation, "full", read_only=True) as mcp:
        assert not {"request_approval_window", "end_approval_window"} & await names(mcp)
    http, connected = client(url, await token(installation))
    async with http, connected as mcp:
        assert not {"request_approval_window", "end_approval_window"} & await names(mcp)
        assert (await request_window(mcp))["code"] == "for_people"


async def test_gateway_refuses_an_invalid_approval_window(installation: RunningInstallation) -> None:
    wrong: list[dict[str, Any]] = [{"uses": 0}, {"targets": []}, {"targets": ["web-9"]}, {"seconds": 10**7}]
    async with serving(installation) as mcp:
        for changes in ({"operations": ["policy_publish"]}, {"operations": ["test_noop"]}, *wrong):
            refused = await request_window(mcp, **changes)
            assert refused["status"] in ("error", "invalid", "denied"), changes
