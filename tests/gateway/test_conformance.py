"""The gateway before two independent programs: the conformance suite of MCP, and the command line of its Inspector.

Both are Node programs; docs/testing.md says how to install them. They send no token, so a proxy here adds it.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.gateway.test_http import token

from writ_testing.installations.installation import RunningInstallation

INSTALLED = os.environ.get("TEST_NPM", "")
"""A folder in which npm has installed `node`, the conformance suite and the Inspector."""
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.exhaustive,
    pytest.mark.skipif(not INSTALLED, reason="TEST_NPM is not set: docs/testing.md"),
]
MODULES = Path(INSTALLED) / "node_modules"
NODE = MODULES / "node/bin/node"
CONFORMANCE = MODULES / "@modelcontextprotocol/conformance/dist/index.js"
INSPECTOR = MODULES / "@modelcontextprotocol/inspector/cli/build/cli.js"
APPLIES = ("server-initialize", "ping", "tools-list", "resources-list", "prompts-list", "dns-rebinding-protection")
"""The others call tools, resources and prompts of the suite's own test server."""


async def node(script: Path, *arguments: str) -> tuple[int, str]:
    """The exit status and the output of a Node program."""
    process = await asyncio.create_subprocess_exec(
        *(str(NODE), str(script), *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode()


@asynccontextmanager
async def with_token(url: str, bearer: str) -> AsyncIterator[str]:
    """The address of a proxy that adds the token to each request."""
    host, _, port = url.removeprefix("http://").removesuffix("/mcp").rpartition(":")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, to_gateway = await asyncio.open_connection(host, int(port))
        back = asyncio.create_task(pipe(upstream, writer))
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, _, rest = head.partition(b"\r\n")
                to_gateway.write(first + b"\r\nAuthorization: Bearer " + bearer.encode() + b"\r\n" + rest)
                to_gateway.write(await reader.readexactly(length(rest)))
                await to_gateway.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            to_gateway.close()
        await asyncio.wait({back}, timeout=10)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    finally:
        server.close()


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()
    except ConnectionError:
        return


def length(head: bytes) -> int:
    """The length of the body after a head."""
    fields = (line.partition(b":") for line in head.lower().split(b"\r\n"))
    return next((int(value) for name, _, value in fields if name == b"content-length"), 0)


@pytest.mark.parametrize("scenario", APPLIES)
async def test_the_conformance_suite_passes(installation: RunningInstallation, url: str, scenario: str) -> None:
    async with with_token(url, await token(installation)) as proxy:
        status, out = await node(CONFORMANCE, "server", "--url", proxy, "--scenario", scenario)
    assert status == 0, out
    assert "0 failed" in out, out


async def test_the_inspector_lists_and_calls_tools(installation: RunningInstallation, url: str) -> None:
    common = (url, "--transport", "http", "--header", f"Authorization: Bearer {await token(installation)}")
    status, out = await node(INSPECTOR, "--cli", *common, "--method", "tools/list")
    assert status == 0, out
    assert "request_operation" in {tool["name"] for tool in json.loads(out)["tools"]}
    words = ("--tool-name", "read", "--tool-arg", "operation_type=test_noop", "--tool-arg", "target_id=web-1")
    status, out = await node(INSPECTOR, "--cli", *common, "--method", "tools/call", *words)
    assert status == 0, out
    assert json.loads(out)["structuredContent"]["status"] == "succeeded"


async def test_the_inspector_speaks_to_the_gateway_over_stdio(installation: RunningInstallation) -> None:
    environ = ("-e", f"WRIT_HOME={installation.home.root}", "-e", f"PYTHONPATH={os.environ['PYTHONPATH']}")
    writ = str(Path(sys.executable).with_name("writ"))
    command = (*environ, writ, "mcp", "stdio", "--as", "bot", "--method", "tools/list")
    status, out = await node(INSPECTOR, "--cli", *command)
    assert status == 0, out
    assert "read" in {tool["name"] for tool in json.loads(out)["tools"]}
