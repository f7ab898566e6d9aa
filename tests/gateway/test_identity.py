"""Identity over HTTP: the gateway's key sends only for principals that name it, and the journal records this."""

import json
from typing import Any

import httpx2
import msgspec
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import Implementation
from tests.gateway.conftest import access_token, call, command, serving
from tests.gateway.test_http import LIST, post, token

from writ_bus.errors import Forbidden
from writ_bus.port import Bus
from writ_client.context import Context, open_bus
from writ_contracts import subjects
from writ_contracts.catalogue.control import FOR_PEOPLE
from writ_contracts.decisions import Decision
from writ_contracts.history.audit import SearchQuery, SearchRow
from writ_contracts.requests import Request, RequestReply
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def as_gateway(installation: RunningInstallation) -> Bus:
    """A connection with the gateway's key, as its thief would have it."""
    seed = installation.home.seed_file("principal-gateway").read_bytes()
    return await open_bus(Context(principal="gateway", url=installation.url), seed, wait=10.0)


async def ask(bus: Bus, principal: str, operation: str, request: Request) -> RequestReply:
    subject = subjects.request(principal, operation)
    reply = await bus.request(subject, msgspec.json.encode(request), timeout=15.0)
    return msgspec.json.decode(reply.data, type=RequestReply)


def client(url: str, bearer: str, **options: Any) -> tuple[httpx2.AsyncClient, Client]:
    http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {bearer}"}, timeout=30)
    return http, Client(streamable_http_client(url, http_client=http), cache=None, **options)


async def test_the_record_names_gateway_agent_human_session_and_client(
    installation: RunningInstallation, url: str
) -> None:
    made = await installation.writ("token", "create", "bot", "-o", "json")
    created = json.loads(made.out)
    http, mcp_client = client(url, created["token"], client_info=Implementation(name="acme-agent", version="7.1"))
    async with http, mcp_client as mcp:
        done = await call(mcp, "read", operation_type="test_noop", target_id="web-1")
    async with await installation.client("alice") as writ:

        async def found() -> list[SearchRow] | None:
            return (await writ.search(SearchQuery(client="acme-agent", session=created["id"]))).rows or None

        rows = await eventually(found)  # the index follows the journal
        assert (await writ.search(SearchQuery(client="acme-agent", session="other"))).rows == []
        requested = (await writ.trace(operation_id=done["operation_id"])).events[0].body
    assert [row.operation_id for row in rows] == [done["operation_id"]]
    assert requested["client"] == {"name": "acme-agent", "version": "7.1", "session": created["id"]}
    assert (requested["principal"], requested["acts_for"]) == ("bot", "alice")
    assert requested["key"] == installation.home.key("principal-gateway").public
    decision = msgspec.json.decode(msgspec.json.encode(requested["decision"]["payload"]), type=Decision)
    assert decision.authenticated == "gateway"


async def test_the_session_of_an_access_token_is_recorded_and_searched_for(
    installation: RunningInstallation, url: str
) -> None:
    """`sid` names the session at the authorization server; all its tokens have the same."""
    done = []
    for token_id in ("first", "second"):
        http, mcp_client = client(url, access_token(sid="session-7", jti=token_id, sub="client-1"))
        async with http, mcp_client as mcp:
            done.append((await call(mcp, "read", operation_type="test_noop", target_id="web-1"))["operation_id"])
    async with await installation.client("alice") as writ:

        async def found() -> set[str] | None:
            rows = (await writ.search(SearchQuery(session="session-7"))).rows
            return {row.operation_id for row in rows} if len(rows) == len(done) else None

        assert await eventually(found) == set(done)
        requested = (await writ.trace(operation_id=done[0])).events[0].body
    assert (requested["principal"], requested["acts_for"]) == ("bot", "alice")
    assert requested["client"]["session"] == "session-7"


async def test_over_stdio_the_record_names_agent_human_session_and_client_and_the_request_is_signed(
    installation: RunningInstallation,
) -> None:
    info = Implementation(name="acme-desk", version="2")
    async with Client(command(installation), cache=None, client_info=info) as mcp:
        done = [await call(mcp, "read", operation_type="test_noop", target_id="web-1") for _ in range(2)]
    async with await installation.client("alice") as writ:
        bodies = [(await writ.trace(operation_id=one["operation_id"])).events[0].body for one in done]
    for body in bodies:
        assert (body["principal"], body["acts_for"]) == ("bot", "alice")
        assert (body["client"]["name"], body["client"]["version"]) == ("acme-desk", "2")
        decision = msgspec.json.decode(msgspec.json.encode(body["decision"]["payload"]), type=Decision)
        assert decision.authenticated == "signature"
    sessions = {body["client"]["session"] for body in bodies}
    assert len(sessions) == 1
    assert sessions.pop().startswith("stdio-")


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_token_that_is_revoked_in_mid_session_ends_the_session_and_what_runs_goes_on(
    installation: RunningInstallation, url: str, mode: str
) -> None:
    created = json.loads((await installation.writ("token", "create", "bot", "-o", "json")).out)
    http, mcp_client = client(url, created["token"], mode=mode)
    async with http, mcp_client as mcp:
        nap = {"operation_type": "test_sleep", "target_id": "web-1", "reason": "a nap", "wait": 0}
        began = await call(mcp, "request_operation", **nap, parameters={"seconds": 1, "processes": 0})
        assert (await installation.writ("token", "revoke", created["id"])).status == 0
        with pytest.raises(MCPError):
            await mcp.call_tool("get_operation_status", {"operation_id": began["operation_id"]})
        with pytest.raises(MCPError):
            await mcp.list_tools()
    async with await installation.client("bot") as writ:
        assert (await writ.wait(began["operation_id"], timeout=20)).outcome == "succeeded"


async def test_the_gateways_key_is_refused_for_every_other_principal(installation: RunningInstallation) -> None:
    bus = await as_gateway(installation)
    try:
        served = await ask(bus, "bot", "test_noop", Request(target="web-1"))
        assert served.error is None, served
        for other in ("local", "alice", "operator", "gateway"):
            with pytest.raises(Forbidden):
                await ask(bus, other, "test_noop", Request(target="web-1"))
    finally:
        await bus.drain(1.0)


async def test_the_gateways_account_cannot_publish_what_is_for_people(installation: RunningInstallation) -> None:
    bus = await as_gateway(installation)
    try:
        for operation in FOR_PEOPLE:
            with pytest.raises(Forbidden):
                await ask(bus, "bot", operation, Request(target="writ"))
        with pytest.raises(Forbidden):
            await bus.request(subjects.approval("bot"), b"{}", timeout=5.0)
    finally:
        await bus.drain(1.0)


async def test_a_token_is_limited_to_its_operations_targets_and_rate(
    installation: RunningInstallation, url: str
) -> None:
    limits = ("--operation", "test_*", "--target", "web-*", "--rate", "12")
    made = await installation.writ("token", "create", "bot", *limits, "-o", "json")
    bearer = json.loads(made.out)["token"]
    http, mcp_client = client(url, bearer)
    async with http, mcp_client as mcp:
        assert (await call(mcp, "read", operation_type="test_noop", target_id="web-1"))["status"] == "succeeded"
        for operation, target in (("network_status", "web-1"), ("test_noop", "db-1")):
            refused = await call(mcp, "read", operation_type=operation, target_id=target)
            assert refused["code"] == "token_limit", refused
    statuses = [(await post(url, LIST, Authorization=f"Bearer {bearer}")).status_code for _ in range(13)]
    assert statuses[0] == 200
    assert statuses[-1] == 429
    listed = (await installation.writ("token", "list")).out
    assert "test_*" in listed
    assert "12 a minute" in listed


async def test_simulation_of_a_change_is_refused_where_the_server_is_read_only(
    installation: RunningInstallation,
) -> None:
    change = {"operation_type": "service_restart", "target_id": "web-1", "parameters": {"service_name": "nginx"}}
    async with serving(installation, read_only=True) as mcp:
        refused = await call(mcp, "simulate_operation", **change)
        explained = await call(mcp, "explain_decision", **change)
    assert refused.get("code") == "read_only", refused
    assert explained["policy_evaluation"]["decision"] in ("allow", "deny", "require_approval")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--operation", "file_raed"), "--operation file_raed: no operation has this name; did you mean 'file_read'?"),
        (("--operation", "zzz_*"), "--operation zzz_*: no operation has this name; `writ operations` lists them"),
        (("--expires", "30"), "--expires 30: the unit is missing: 30s, 30m, 30h or 30d?"),
        (("--expires", "soon"), "--expires: 'soon' is not a time span such as 90s, 15m, 2h or 7d"),
    ],
)
async def test_a_token_with_a_mistake_in_its_limits_is_refused(
    installation: RunningInstallation, words: tuple[str, ...], message: str
) -> None:
    refused = await installation.writ("token", "create", "bot", *words)
    assert (refused.status, refused.err) == (2, f"writ: {message}\n")


async def test_creation_of_a_token_warns_of_targets_that_do_not_exist(installation: RunningInstallation) -> None:
    made = await installation.writ("token", "create", "bot", "--target", "wbe-1", "--target", "web-*")
    assert made.status == 0
    assert "writ: --target wbe-1: no target has this name; did you mean 'web-1'?\n" in made.err
    assert "web-*" not in made.err


async def test_a_token_is_refused_for_a_principal_that_no_gateway_serves(installation: RunningInstallation) -> None:
    refused = await installation.writ("token", "create", "local")
    assert refused.status == 2
    assert "via: gateway" in refused.err
    assert await token(installation)
