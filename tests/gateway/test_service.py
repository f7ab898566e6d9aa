"""The gateway over HTTP as a service: started by hand, ready or not, measured, and not held up by slow clients."""

import asyncio
import json
import os
import socket
import ssl
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from tests.gateway.conftest import listening
from tests.gateway.test_http import post, token

from writ_contracts.errors import ConfigError
from writ_contracts.ids import operation_id
from writ_documents.atomic_files import write_atomically
from writ_gateway.http.asgi import Receive, Scope, Send
from writ_gateway.http.config import HttpGatewayConfig
from writ_gateway.http.http_server import certificate_of
from writ_gateway.http.time_limits import LEAST_PROGRESS, BodyLimit, TimedProtocol
from writ_installation.processes.child import tie
from writ_installation.server_access.certificates import issue, make_authority
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation

SHORT = 0.2


class Impatient(TimedProtocol):
    head_seconds = reply_seconds = SHORT


@asynccontextmanager
async def served(application: Any, made: Callable[[Any], uvicorn.Config] | None = None) -> AsyncIterator[int]:
    """Yield a port on which uvicorn serves the application, with short limits or as `made` says."""
    config = uvicorn.Config(application, http=Impatient, log_config=None, lifespan="off", host="127.0.0.1", port=0)
    server = uvicorn.Server(config if made is None else made(application))
    task = asyncio.create_task(server.serve())

    async def port() -> int | None:
        return server.servers[0].sockets[0].getsockname()[1] if server.started else None

    try:
        yield await eventually(port)
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, 10)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Reply with the size of the body, or with a long text on request."""
    size, more = 0, True
    while more:
        part = await receive()
        size, more = size + len(part.get("body", b"")), part.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(size):
        await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


async def sent(port: int, data: bytes) -> bytes:
    """Return all bytes until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


async def test_a_head_or_body_that_does_not_come_ends_the_connection() -> None:
    async with served(BodyLimit(echo, SHORT)) as port:
        for start in (b"", b"POST / HTTP/1.1\r\nHost:"):
            assert await sent(port, start) == b""
        assert b" 408 " in await sent(port, HEAD % 10 + b"12345")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD % 0)
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 200")
        writer.write(b"POST / HT")  # the second head of a connection that was kept
        await asyncio.wait_for(reader.read(), 10)
        writer.close()


async def test_slow_body_is_taken_while_it_makes_progress() -> None:
    """Three parts that take longer together than the limit, which begins again with each."""
    nothing, sizes = asyncio.Event(), list[int]()
    parts = [b"x" * LEAST_PROGRESS, b"x" * LEAST_PROGRESS, b"x" * 5]

    async def receive() -> dict[str, Any]:
        with suppress(TimeoutError):
            await asyncio.wait_for(nothing.wait(), 0.8)
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        while more:
            message = await receive()
            sizes.append(len(message["body"]))
            more = message["more_body"]

    async def send(message: Any) -> None:
        raise AssertionError(message)

    await BodyLimit(inner, seconds=2.0)({"type": "http"}, receive, send)
    assert sizes == [LEAST_PROGRESS, LEAST_PROGRESS, 5]


async def test_a_reply_that_nobody_reads_is_cut_off() -> None:
    ended = asyncio.Event()

    async def noted(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await echo(scope, receive, send)
        finally:
            ended.set()

    async with served(noted) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(HEAD % 100 + b"x" * 100)
        await asyncio.wait_for(ended.wait(), 10)
        writer.close()


@asynccontextmanager
async def http_gateway(installation: RunningInstallation, folder: Path) -> AsyncIterator[tuple[Process, str]]:
    """Yield the process of another gateway, `writ mcp http`, and its address."""
    log = folder / "gateway.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(*tie(), str(Path(sys.executable).with_name("writ")), "mcp", "http", "--port", "0"),
            env={"WRIT_HOME": str(installation.home.root), "PYTHONPATH": os.environ["PYTHONPATH"]},
            stderr=out,
        )

    async def url() -> str | None:
        return listening(log) if b"gateway.listening" in log.read_bytes() else None

    try:
        yield process, await eventually(url)
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), 30)


async def open_requests(folder: Path) -> float:
    """Return how many requests the gateway with its log in this folder has read and not answered."""
    lines = (json.loads(line) for line in (folder / "gateway.log").read_text().splitlines() if line.startswith("{"))
    (port,) = [line["health_port"] for line in lines if line["event"] == "service.ready"]
    async with httpx2.AsyncClient() as client:
        metrics = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    (value,) = [line.split()[1] for line in metrics.splitlines() if line.startswith("writ_gateway_http_open_requests ")]
    return float(value)


@pytest.mark.asyncio(loop_scope="module")
async def test_writ_mcp_http_serves_until_it_is_stopped(installation: RunningInstallation, tmp_path: Path) -> None:
    async with http_gateway(installation, tmp_path) as (process, where):
        assert (await post(where)).status_code == 401
        assert (await post(where, Authorization=f"Bearer {await token(installation)}")).status_code == 200
    assert process.returncode == 0
    lines = [json.loads(line) for line in (tmp_path / "gateway.log").read_text().splitlines()]
    foreign = [line for line in lines if " " in line["event"] or "color_message" in line]
    assert foreign == [], "libraries log among the gateway's own events"


@pytest.mark.asyncio(loop_scope="module")
async def test_taken_port_is_named_with_the_option_for_another(installation: RunningInstallation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = await installation.writ("mcp", "http", "--port", str(port))
    advice = "`writ mcp http --port 0` (WRIT_MCP_PORT) takes a free port"
    assert (ended.status, f"port {port} on 127.0.0.1 is taken; {advice}" in ended.err) == (1, True), ended
    assert "Errno" not in ended.err


@pytest.mark.asyncio(loop_scope="module")
async def test_calls_that_wait_return_the_operation_when_the_gateway_stops(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    """A request and a wait, whose operation goes on."""
    key = "a-gateway-stops"
    number = operation_id("bot", key)
    sleeping = {"operation_type": "test_sleep", "target_id": "web-1", "reason": "sleep", "idempotency_key": key}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("request_operation", {**sleeping, "parameters": {"seconds": 600, "processes": 1}, "wait": 30}),
        ("wait_for_operation", {"operation_id": number, "wait": 50}),
    ]
    bearer = {"Authorization": f"Bearer {await token(installation)}"}

    requests = list[asyncio.Task[httpx2.Response]]()

    async def arrived() -> bool:
        open_ones = [(one.operation_id, one.state) for one in await bot.open_operations()]
        return (number, "started") in open_ones and await open_requests(tmp_path) == len(requests)

    async with await installation.client("bot") as bot, http_gateway(installation, tmp_path) as (process, where):
        for name, arguments in calls:
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
            requests.append(asyncio.create_task(post(where, body, **bearer)))
            await eventually(arrived)
        process.terminate()
        replies = await asyncio.wait_for(asyncio.gather(*requests), 20)
        await bot.cancel(number)
    for reply in replies:
        (line,) = [line for line in reply.text.splitlines() if "structuredContent" in line]
        result = json.loads(line.removeprefix("data:"))["result"]["structuredContent"]
        assert (result["status"], result["operation_id"]) == ("running", number), result


@pytest.mark.asyncio(loop_scope="module")
async def test_gateway_reports_readiness_and_counts_replies(installation: RunningInstallation, url: str) -> None:
    assert (await post(url)).status_code == 401
    port = json.loads((installation.home.run / "gateway.json").read_bytes())["health_port"]
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        ready = (await client.get("/readyz")).json()
        assert ready == {"status": "ready", "checks": {"nats": "ok", "tokens": "ok"}}
        assert 'writ_gateway_http_replies_total{status="401"}' in (await client.get("/metrics")).text
        tokens = installation.home.gateway_tokens
        before = tokens.read_bytes() if tokens.exists() else b'{"tokens": []}'
        tokens.write_bytes(b"{")
        try:
            refused = await client.get("/readyz")
        finally:
            tokens.write_bytes(before)
    assert refused.status_code == 503
    assert "gateway-tokens.json" in refused.json()["checks"]["tokens"]


async def test_without_a_gateway_in_the_principals_the_command_says_how_to_make_one(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("writ")), "mcp", "http"),
        env={"WRIT_HOME": str(tmp_path), "PYTHONPATH": os.environ["PYTHONPATH"]},
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await asyncio.wait_for(process.communicate(), 30)
    advice = "`writ principal add NAME --kind agent --via gateway` adds one, and the gateway's key"
    expected = f"writ: no principal comes through a gateway 'gateway' yet: {advice}\n"
    assert (process.returncode, err.decode()) == (2, expected)


@pytest.mark.exhaustive
@pytest.mark.asyncio(loop_scope="module")
async def test_gateway_beyond_loopback_speaks_tls_or_does_not_start(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    environ = {"WRIT_HOME": str(installation.home.root), "PYTHONPATH": os.environ["PYTHONPATH"]}
    command = (str(Path(sys.executable).with_name("writ")), "mcp", "http", "--port", "0")
    refused = await asyncio.create_subprocess_exec(
        *(*command, "--host", "0.0.0.0"), env=environ, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(refused.communicate(), 30)
    assert refused.returncode != 0
    assert b"tokens would cross the network without TLS" in out + err
    now = datetime.now(UTC)
    authority = make_authority("a-b-c-d", now)
    issued = issue(authority, ["127.0.0.1"], now)
    files = {"--certificate": issued.public, "--key": issued.private}
    for name, content in files.items():
        write_atomically(tmp_path / name, content)
    words = [word for name in files for word in (name, str(tmp_path / name))]
    log = tmp_path / "gateway.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*tie(), *command, *words, env=environ, stderr=output)

    async def url() -> str | None:
        return listening(log) if b"gateway.listening" in log.read_bytes() else None

    try:
        where = await eventually(url)
        assert where.startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cadata=authority.public.decode())
        async with httpx2.AsyncClient(verify=context) as client:
            assert (await client.post(where, json={})).status_code == 401
        with pytest.raises(httpx2.HTTPError):
            await post(where.replace("https", "http"))
    finally:
        process.terminate()
    assert await asyncio.wait_for(process.wait(), 30) == 0


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"host": "192.0.2.1"}, "without TLS"),
        ({"host": "0.0.0.0", "tls_certificate": Path("x")}, "belong together"),
        ({"host": "192.0.2.1", "http_plaintext": "allow"}, ""),
        ({"host": "::1"}, ""),
    ],
)
def test_only_loopback_is_served_in_the_clear_unless_configured(settings: dict[str, Any], problem: str) -> None:
    config = HttpGatewayConfig(
        nats_url="nats://127.0.0.1", installation="", key_file=Path("x"), tokens=Path("x"), **settings
    )
    if problem:
        with pytest.raises(ConfigError, match=problem):
            certificate_of(config)
    else:
        assert certificate_of(config) == {}
