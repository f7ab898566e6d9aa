"""An AI agent requests over MCP what needs an approval, a person decides by `writ`, and the agent sees how it ended."""

import asyncio
from typing import Any

import pytest
from mcp import Client
from tests.gateway.conftest import call, serving

from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def requested(client: Client) -> dict[str, Any]:
    given: dict[str, Any] = {"operation_type": "test_sleep", "target_id": "db-1"}
    given["parameters"] = {"seconds": 0.1, "processes": 0}
    return await call(client, "request_operation", **given, reason="a nap")


async def decided(installation: RunningInstallation, verdict: str, operation_id: str) -> None:
    """As carol, in a terminal."""
    yes = ["--yes"] if verdict == "approve" else []
    ended = await installation.writ("approvals", verdict, operation_id, "--as", "carol", "--reason", "seen", *yes)
    assert ended.status == 0, ended


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_agent_gets_a_handle_a_person_approves_and_the_wait_ends(
    installation: RunningInstallation, mode: str
) -> None:
    async with serving(installation, mode=mode) as client:
        asked = await requested(client)
        assert asked["status"] == "awaiting_approval"
        assert asked["approvers"] == ["carol"]  # not alice, for whom the agent acts
        assert asked["policy_evaluation"]["decision"] == "require_approval"
        assert "asking again does not help" in asked["advice"]
        assert asked["next"]["tool"] == "wait_for_operation"
        still = await call(client, "wait_for_operation", operation_id=asked["operation_id"], wait=0)
        assert still["status"] == "awaiting_approval"
        waiting = asyncio.create_task(call(client, "wait_for_operation", operation_id=asked["operation_id"], wait=50))
        await decided(installation, "approve", asked["operation_id"])
        assert (await waiting)["status"] == "succeeded"


async def test_a_rejection_is_an_outcome_with_advice(installation: RunningInstallation) -> None:
    async with serving(installation) as client:
        asked = await requested(client)
        await decided(installation, "reject", asked["operation_id"])
        ended = await call(client, "wait_for_operation", operation_id=asked["operation_id"])
        assert ended["status"] == "rejected"
        assert "A person said no" in ended["advice"]
