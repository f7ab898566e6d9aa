"""Tools take the beginning of an id, and refuse a misspelt target before it becomes a record."""

import asyncio
from typing import Any

import pytest
from mcp import Client
from tests.gateway.conftest import call, serving

from writ_client.client import Writ
from writ_gateway import client as client_module
from writ_gateway.client import AgentClient
from writ_gateway.tools import operation_tools
from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOOP = {"operation_type": "test_noop", "parameters": {}}
MEANT = "there is no target 'wbe-1' among those that you may list; did you mean 'web-1'?"


async def recorded_targets(client: Client) -> set[str]:
    listed = await call(client, "list_my_operations", open_only=False, limit=100)
    return {one["target_id"] for one in listed["operations"]}


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("request_operation", {**NOOP, "target_id": "wbe-1", "reason": "x"}),
        ("read", {**NOOP, "target_id": "wbe-1"}),
        ("preview_operation", {**NOOP, "target_id": "wbe-1"}),
        ("execute_test_noop", {"target_id": "wbe-1"}),
        (
            "request_approval_window",
            {"operations": ["test_noop"], "targets": ["wbe-1"], "uses": 1, "seconds": 60, "reason": "x"},
        ),
    ],
)
async def test_misspelt_target_is_refused_with_the_nearest_and_not_recorded(
    installation: RunningInstallation, tool: str, arguments: dict[str, Any]
) -> None:
    async with serving(installation, "full") as client:
        before = len((await call(client, "list_my_operations", open_only=False, limit=100))["operations"])
        refused = await call(client, tool, **arguments)
        after = len((await call(client, "list_my_operations", open_only=False, limit=100))["operations"])
    assert (refused["status"], refused["code"]) == ("error", "unknown_target")
    assert MEANT in refused["message"]
    assert after == before


@pytest.mark.parametrize("tool", ["simulate_operation", "explain_decision", "search_operations"])
async def test_question_about_a_misspelt_target_gets_the_nearest(installation: RunningInstallation, tool: str) -> None:
    arguments = {} if tool == "search_operations" else NOOP
    async with serving(installation, "full") as client:
        refused = await call(client, tool, target_id="wbe-1", **arguments)
    assert refused["code"] == "unknown_target"
    assert refused["message"].endswith("did you mean 'web-1'?")


async def test_misspelt_operation_of_an_approval_window_is_refused_with_the_nearest(
    installation: RunningInstallation,
) -> None:
    window = {"targets": ["web-1"], "uses": 1, "seconds": 60, "reason": "x"}
    async with serving(installation, "full") as client:
        refused = await call(client, "request_approval_window", operations=["service_restrat"], **window)
    assert (refused["code"], "did you mean 'service_restart'?" in refused["message"]) == ("unknown_operation", True)


async def test_names_of_many_targets_are_looked_up_within_one_time_limit(
    installation: RunningInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[str]()

    async def no_reply(_: AgentClient, target: str) -> str:
        asked.append(target)
        await asyncio.Event().wait()
        return ""

    monkeypatch.setattr(AgentClient, "similar_target", no_reply)
    monkeypatch.setattr(client_module, "SUGGESTION_SECONDS", 0.05)
    window = {"operations": ["test_noop"], "targets": ["web-1", "web-2", "web-3"], "uses": 1, "seconds": 60}
    async with serving(installation, "full") as client:
        assert "operation_id" in await call(client, "request_approval_window", **window, reason="x")
    assert asked == ["web-1"]


async def test_target_like_no_listed_one_is_requested_and_recorded(installation: RunningInstallation) -> None:
    async with serving(installation) as client:
        refused = await call(client, "read", **NOOP, target_id="mainframe")
        assert (refused["status"], refused["code"]) == ("invalid", "unknown_target")
        assert "mainframe" in await recorded_targets(client)


async def test_role_or_tag_that_no_target_has_gets_a_hint(installation: RunningInstallation) -> None:
    async with serving(installation) as client:
        tagged = await call(client, "list_targets", tag="wbe")
        assert (tagged["targets"], tagged["hint"]) == ([], "no target that you may list has the tag 'wbe'")
        role = await call(client, "list_targets", target_role="staging")
        text = "no target that you may list has the role 'staging'; those that you may list have "
        assert role["hint"] == f"{text}development, production"
        assert "hint" not in await call(client, "list_targets", target_role="production")


async def test_tools_take_the_beginning_of_an_id(installation: RunningInstallation, writ: Writ) -> None:
    async with serving(installation) as client:
        done = await call(client, "read", **NOOP, target_id="web-1")
        whole = done["operation_id"]
        for tool in ("get_operation_status", "wait_for_operation", "get_trace"):
            found = await call(client, tool, operation_id=whole[:12])
            assert found["operation_id"] == whole, tool
        sleep = {"operation_type": "test_sleep", "target_id": "web-1", "reason": "sleep", "wait": 0}
        began = await call(client, "request_operation", **sleep, parameters={"seconds": 600, "processes": 1})
        cancelled = await call(client, "cancel_operation", operation_id=began["operation_id"][:12], reason="enough")
        assert cancelled["output"]["result"] in ("stopped", "cancelled")
        ended = await call(client, "wait_for_operation", operation_id=began["operation_id"])  # its receipt may follow
        assert ended["status"] == "cancelled"


async def test_search_for_an_id_counts_in_the_time_of_a_wait(
    installation: RunningInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_reply(_: AgentClient, text: str) -> str:
        await asyncio.Event().wait()
        return text

    monkeypatch.setattr(AgentClient, "find_operation", no_reply)
    monkeypatch.setattr(operation_tools, "LONGEST_CALL", 0.05)
    async with serving(installation) as client, asyncio.timeout(60):
        waited = await call(client, "wait_for_operation", operation_id="abc", wait=30)
    assert (waited["code"], waited["message"]) == ("timeout", "no reply about operation abc; the operation goes on")


async def test_beginning_of_no_id_or_of_several_is_an_error_that_says_so(installation: RunningInstallation) -> None:
    async with serving(installation) as client:
        made = {(await call(client, "read", **NOOP, target_id="web-1"))["operation_id"] for _ in range(33)}
        begins = [letter for letter in "abcdefghijklmnopqrstuvwxyz234567" if sum(one[0] == letter for one in made) > 1]
        several = await call(client, "get_operation_status", operation_id=begins[0])
        assert several["message"].startswith(f"several operation ids begin with '{begins[0]}': ")
        assert sum(one in several["message"] for one in made) >= 1
        none = await call(client, "get_operation_status", operation_id="777777777777")
        assert (none["code"], none["message"]) == (
            "not_found",
            "no operation id begins with '777777777777' among those that you may read",
        )
