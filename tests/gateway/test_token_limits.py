"""The limits of a token: replies, lists and hints about targets end where its globs do."""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from mcp import Client
from tests.gateway.conftest import call, connected
from tests.gateway.test_identity import client

from writ_gateway.caller import Caller
from writ_gateway.context import Context as RequestContext
from writ_gateway.server import server
from writ_gateway.session import PrincipalSession
from writ_gateway.toolbox import Toolbox
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def limited_to(installation: RunningInstallation, *globs: str, principal: str = "bot") -> AsyncIterator[Client]:
    """Yield a client whose token is for targets of these globs."""
    catalogue = load_catalogue()
    async with connected(installation, principal) as writ:

        async def session_of(_: RequestContext) -> PrincipalSession:
            return PrincipalSession(writ, catalogue).called_by(Caller(targets=globs))

        async with Client(server(Toolbox(catalogue, "full"), session_of), cache=None) as mcp:
            yield mcp


def limited_to_web(installation: RunningInstallation, principal: str = "bot") -> AbstractAsyncContextManager[Client]:
    return limited_to(installation, "web-*", principal=principal)


async def test_answers_about_a_request_respect_the_limits_of_the_token(
    installation: RunningInstallation, url: str
) -> None:
    limits = ("--operation", "test_*", "--target", "web-*")
    made = await installation.writ("token", "create", "bot", *limits, "-o", "json")
    http, mcp_client = client(url, json.loads(made.out)["token"])
    async with http, mcp_client as mcp:
        for tool in ("simulate_operation", "explain_decision"):
            inside = await call(mcp, tool, operation_type="test_noop", target_id="web-1")
            assert inside["policy_evaluation"]["decision"] == "allow"
            for operation, target in (("network_status", "web-1"), ("test_noop", "db-1")):
                refused = await call(mcp, tool, operation_type=operation, target_id=target)
                assert refused.get("code") == "token_limit", (tool, refused)
        found = await call(mcp, "search_operations", query="", target_id="web-1")
    names = {one["operation_type"] for one in found["operations"]}
    assert "test_noop" in names
    assert {name for name in names if not name.startswith("test_")} == set()


async def test_allowed_operations_are_those_within_the_limits_of_the_token(installation: RunningInstallation) -> None:
    catalogue, limits = load_catalogue(), Caller(operations=["test_noop", "test_sleep"], targets=["web-*"])
    async with connected(installation, "bot") as writ:

        async def session_of(_: RequestContext) -> PrincipalSession:
            return PrincipalSession(writ, catalogue).called_by(limits)

        async with Client(server(Toolbox(catalogue, "full"), session_of), cache=None) as mcp:
            found = await call(mcp, "list_allowed_operations")
    assert (found["allowed_operations"], found["needs_approval"]) == (["test_noop", "test_sleep"], [])
    assert {target for row in found["access"] for target in row["targets"]} == {"web-1"}


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("search_operations", {}),
        ("simulate_operation", {"operation_type": "test_noop"}),
        ("simulate_operation", {"operation_type": "test_noop", "requested_by": "carol"}),
        ("simulate_operation", {"operation_type": "test_noop", "target_role": "production"}),
        ("explain_decision", {"operation_type": "test_noop"}),
        ("list_allowed_operations", {}),
        ("read", {"operation_type": "test_noop"}),
        ("preview_operation", {"operation_type": "test_noop"}),
    ],
)
async def test_reply_about_a_target_outside_the_token_does_not_tell_whether_it_exists(
    installation: RunningInstallation, tool: str, arguments: dict[str, str]
) -> None:
    async with limited_to_web(installation) as mcp:
        for target in ("db-1", "db-2"):
            refused = await call(mcp, tool, **arguments, target_id=target)
            message = f"this token is not for target {target}, only for web-*"
            assert (refused["code"], refused["message"]) == ("token_limit", message)


async def test_cancelling_is_simulated_as_it_is_done_whatever_targets_the_token_is_for(
    installation: RunningInstallation,
) -> None:
    async with limited_to(installation, "*") as mcp:
        operation_id = (await call(mcp, "read", operation_type="test_noop", target_id="db-1"))["operation_id"]
    cancelling = {"operation_type": "operation_cancel", "target_id": "writ"}
    async with limited_to_web(installation) as mcp:
        found = await call(mcp, "simulate_operation", **cancelling, parameters={"operation_id": operation_id})
        assert found.get("policy_evaluation", {}).get("decision") == "allow", found
        other = await call(mcp, "simulate_operation", operation_type="audit_read", target_id="writ")
        assert other["code"] in {"token_limit", "for_people"}, other


async def test_lists_and_hints_name_no_target_outside_the_token(installation: RunningInstallation) -> None:
    async with limited_to_web(installation) as mcp:
        found = await call(mcp, "list_targets")
        assert ([one["target_id"] for one in found["targets"]], found["total"]) == (["web-1"], 1)
        role = await call(mcp, "list_targets", target_role="production")
        assert role["hint"].endswith("those that you may list have development")
        for resource in ("writ://targets", "writ://operations"):
            assert "db-1" not in (await mcp.read_resource(resource)).model_dump_json(), resource
    async with limited_to_web(installation, "carol") as mcp:  # she may read the policy
        scenario = {"operation_type": "test_noop", "requested_by": ["alice"]}
        nothing = await call(mcp, "simulate_policy_scenario", **scenario, target_role="production")
        assert nothing["message"] == "target_role: no target has the role production"
        named = await call(mcp, "simulate_policy_scenario", **scenario, target_ids=["web-1", "db-1"])
        assert named["code"] == "token_limit"
        others = await call(mcp, "list_allowed_operations", user_id="alice")
        assert {target for row in others["access"] for target in row["targets"]} == {"web-1"}


async def test_hint_at_a_misspelt_target_is_of_the_token_targets(installation: RunningInstallation) -> None:
    """The globs admit `db-2`, and of the listed targets only `web-1`: the hint is not `db-1`, which is like it."""
    async with limited_to(installation, "web-1", "db-2") as mcp:
        for tool in ("read", "simulate_operation", "search_operations"):
            named = {} if tool == "search_operations" else {"operation_type": "test_noop"}
            refused = await call(mcp, tool, **named, target_id="db-2")
            assert (refused["code"], "db-1" in refused["message"]) == ("unknown_target", False), refused


async def test_tools_are_listed_within_the_limits_of_the_token(installation: RunningInstallation) -> None:
    limited = {
        "no": Caller(),
        "operations": Caller(operations=["network_*"]),
        "targets": Caller(targets=["web-*"]),
        "no target": Caller(targets=["nowhere-*"]),
    }
    catalogue, now, listed = load_catalogue(), [Caller()], dict[str, set[str]]()
    async with connected(installation, "bot") as writ:
        session = PrincipalSession(writ, catalogue)

        async def session_of(_: RequestContext) -> PrincipalSession:
            return session.called_by(now[0])

        async with Client(server(Toolbox(catalogue, "full"), session_of), cache=None) as mcp:
            for limits, now[0] in limited.items():
                listed[limits] = {tool.name for tool in (await mcp.list_tools()).tools}
    assert listed["no"] - listed["operations"] >= {"request_operation", "preview_operation", "execute_test_sleep"}
    assert listed["operations"] >= {"read", "get_operation_status", "cancel_operation", "search_operations"}
    assert listed["targets"] == listed["no"]
    assert listed["no"] - listed["no target"] >= {"read", "request_operation", "execute_test_sleep"}
    assert listed["no target"] >= {"get_operation_status", "cancel_operation", "search_operations"}
