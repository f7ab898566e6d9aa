"""The gateway over HTTP on the wire: tokens, hosts, origins, methods, sizes, and bytes other than JSON-RPC."""

import json
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from tests.gateway.conftest import call, principal_entry

from writ_contracts.inventory import Principal
from writ_gateway.http.asgi import REFUSED
from writ_gateway.http.tokens import Tokens
from writ_gateway.server import LONGEST_MESSAGE
from writ_installation.files.gateway_tokens import create_token, read_tokens
from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")
ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


async def token(installation: RunningInstallation, principal: str = "bot") -> str:
    ended = await installation.writ("token", "create", principal, "--note", "a test", "-o", "json")
    assert ended.status == 0, ended
    return str(json.loads(ended.out)["token"])


async def post(url: str, body: Any = LIST, **headers: str) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=20) as client:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await client.post(url, content=content, headers={**ACCEPT, **headers})


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_client_with_a_token_acts_as_its_principal(
    installation: RunningInstallation, url: str, mode: str
) -> None:
    bearer = {"Authorization": f"Bearer {await token(installation)}"}
    async with (
        httpx2.AsyncClient(headers=bearer, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode, cache=None) as client,
    ):
        assert (await client.list_tools()).tools
        done = await call(client, "read", operation_type="test_noop", target_id="web-1")
    assert (done["status"], done["requested_by"]) == ("succeeded", "bot")


async def test_risk_admin_is_out_of_reach_since_nothing_is_signed_by_the_principal(
    installation: RunningInstallation, url: str, files: Path
) -> None:
    (files / "kept").write_text("x")
    request: dict[str, Any] = {"operation_type": "file_delete", "target_id": "web-1", "reason": "tidy up"}
    request["parameters"] = {"file_path": str(files / "kept")}
    bearer = {"Authorization": f"Bearer {await token(installation, 'tidy')}"}
    async with (
        httpx2.AsyncClient(headers=bearer, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), cache=None) as client,
    ):
        refused = await call(client, "request_operation", **request)
    assert refused["code"] == "signature_required", refused
    assert (files / "kept").exists()


async def test_no_token_that_is_good_is_401_with_a_challenge(installation: RunningInstallation, url: str) -> None:
    good = await token(installation)
    for header in ("", "Bearer", "Bearer wrong", f"Basic {good}", good, f"Bearer {good}x", "Bearer " + "x" * 10_000):
        refused = await post(url, **({"Authorization": header} if header else {}))
        assert refused.status_code == 401, header[:50]
        assert refused.headers["www-authenticate"].startswith("Bearer ")
    assert (await post(url, Authorization=f"Bearer {good}")).status_code == 200


async def test_client_shows_its_model_why_the_gateway_refused_a_request(
    installation: RunningInstallation, url: str
) -> None:
    """Of a body that is not JSON-RPC it shows `Server returned an error response`, and a model tries again at once."""
    assert not -32768 <= REFUSED <= -32000  # JSON-RPC reserves these, and MCP uses some of them
    created = await installation.json("token", "create", "bot", "--rate", "6")
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {created['token']}"}, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), cache=None) as client,
    ):
        with pytest.raises(MCPError, match=f"the body is longer than {LONGEST_MESSAGE:,} bytes") as refused:
            await client.call_tool("search_operations", {"query": "x" * LONGEST_MESSAGE})
        assert (refused.value.error.code, refused.value.error.data) == (REFUSED, {"code": "too_large"})
        with pytest.raises(MCPError, match="this token is for 6 requests a minute: wait 10 s"):
            await list_targets(client, times=7)
        gone = await installation.json("token", "revoke", created["id"])
        assert gone == {"id": created["id"], "principal": "bot"}
        with pytest.raises(MCPError, match="no valid token for this gateway: it is unknown, revoked or expired"):
            await list_targets(client)


async def list_targets(client: Client, times: int = 1) -> None:
    for _ in range(times):
        await client.call_tool("list_targets", {})


async def test_a_revoked_token_ends_with_the_next_request(installation: RunningInstallation, url: str) -> None:
    good = await token(installation)
    assert (await post(url, Authorization=f"Bearer {good}")).status_code == 200
    newest = read_tokens(installation.home.gateway_tokens)[-1]
    assert (await installation.writ("token", "revoke", newest.id)).status == 0
    assert (await post(url, Authorization=f"Bearer {good}")).status_code == 401
    assert (await installation.writ("token", "revoke", newest.id)).status == 2


async def test_wrong_host_origin_method_path_and_size_have_their_status(
    installation: RunningInstallation, url: str
) -> None:
    bearer = {"Authorization": f"Bearer {await token(installation)}"}
    for host in ("evil.example", "127.0.0.1:1.evil.example", "localhost:1@evil.example", "127.0.0.1.evil.example:1"):
        assert (await post(url, **bearer, Host=host)).status_code == 421, host
    for origin in ("https://evil.example", "http://localhost:x.evil.example", "http://localhost:1@evil.net", "null"):
        assert (await post(url, **bearer, Origin=origin)).status_code == 403, origin
    assert (await post(url, **bearer, Host="LOCALHOST:1", Origin="http://[::1]:1")).status_code == 200
    assert (await post(url.replace("/mcp", "/other"), **bearer)).status_code == 404
    assert (await post(url, b"x" * 2_000_000, **bearer)).status_code == 413
    assert (await post(url, b"[" + b"[]," * 400_000 + b"0]", **bearer)).status_code == 413
    async with httpx2.AsyncClient(headers={**ACCEPT, **bearer}) as client:
        assert (await client.put(url, content=b"{}")).status_code == 405
        assert (await client.get(url.replace("/mcp", "/healthz"))).json() == {"status": "ok"}


async def test_stream_of_a_get_that_would_outlast_its_token_is_refused(
    installation: RunningInstallation, url: str
) -> None:
    bearer = {"Authorization": f"Bearer {await token(installation)}", "Accept": "text/event-stream"}
    async with (
        httpx2.AsyncClient(headers=bearer, timeout=20) as client,
        client.stream("GET", url, headers={"Mcp-Session-Id": "guessed"}) as refused,
    ):
        assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


NOT_JSON, INVALID = -32700, -32600
MALFORMED = [
    (b"", NOT_JSON, "this is not JSON, or it is nested too deeply"),
    (b"{", NOT_JSON, "this is not JSON, or it is nested too deeply"),
    (b"[]", INVALID, "the protocol has no batches: send each message by itself"),
    (b"7", INVALID, "a message is a JSON object"),
    (b'{"jsonrpc":"1.0","id":1,"method":"tools/list"}', INVALID, 'jsonrpc must be "2.0"'),
    (b'{"id":1}', INVALID, 'jsonrpc must be "2.0"'),
    (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', INVALID, "id must be a string or an integer"),
    (b"\xff\xfe", NOT_JSON, "this is not JSON, or it is nested too deeply"),
    (b"[" * 5000, NOT_JSON, "this is not JSON, or it is nested too deeply"),
]


async def test_malformed_json_rpc_is_400_and_the_server_continues(installation: RunningInstallation, url: str) -> None:
    bearer = {"Authorization": f"Bearer {await token(installation)}"}
    for body, code, text in MALFORMED:
        for more in ({}, {"MCP-Protocol-Version": "2026-07-28"}):
            refused = await post(url, body, **bearer, **more)
            assert (refused.status_code, refused.json()["error"]) == (400, {"code": code, "message": text}), body[:40]
    assert (await post(url, **bearer)).status_code == 200


async def test_a_token_is_for_agents_and_services_and_its_file_has_digests_alone(
    installation: RunningInstallation,
) -> None:
    refused = await installation.writ("token", "create", "alice")
    assert refused.status == 2
    assert "alice is a human" in refused.err
    made = await token(installation)
    path = installation.home.gateway_tokens
    assert made not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    listed = (await installation.writ("token", "list")).out
    assert "bot" in listed
    assert made not in listed


async def test_a_token_expires_and_a_file_that_cannot_be_read_lets_nobody_in(tmp_path: Path) -> None:
    path, now = tmp_path / "tokens.json", 1000.0
    bot = msgspec.convert(principal_entry("bot"), Principal)
    made, _ = create_token(path, bot, now=now, lifetime=60, note="")
    tokens = Tokens(path, clock=lambda: now)
    found = tokens.find(made)
    assert found is not None
    assert found.principal == "bot"
    now = 1060.0
    assert tokens.find(made) is None
    now = 1000.0
    path.write_text("{")
    assert tokens.find(made) is None
    path.unlink()
    assert tokens.find(made) is None
