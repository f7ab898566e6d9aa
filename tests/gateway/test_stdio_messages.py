"""What `writ mcp stdio` answers to lines that are no messages, over real pipes. JSON-RPC 2.0, section 5.1."""

import asyncio
import json
import os
import signal
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from tests.gateway.conftest import command

from writ_gateway.server import LONGEST_MESSAGE
from writ_gateway.stdio_messages import StandardInput
from writ_installation.processes.child import tie
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")
INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "lines", "version": "1"},
}
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "lines", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
NOT_JSON: list[bytes] = [
    b"{",
    b"hello",
    b'{"jsonrpc":"2.0","id":1,"method":"ping"} and more',
    b"\xff\xfe\x00\x01",
    b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\xff"}}',
    b'{"a":' * 50_000,
]
NO_MESSAGE: list[tuple[bytes, int | str | None]] = [
    (b"[]", None),
    (b'[{"jsonrpc":"2.0","id":2,"method":"ping"}]', None),
    (b"null", None),
    (b"7", None),
    (b'"ping"', None),
    (b"{}", None),
    (b'{"jsonrpc":"1.0","id":3,"method":"ping"}', 3),
    (b'{"jsonrpc":"2.0","id":4}', 4),
    (b'{"jsonrpc":"2.0","id":"five","method":7}', "five"),
    (b'{"jsonrpc":"2.0","id":6,"method":"ping","params":[]}', 6),
    (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', None),
    (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', None),
    (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', None),
    (b'{"jsonrpc":"2.0","id":[1],"method":"ping"}', None),
    (b'{"jsonrpc":"2.0","id":7,"method":"' + b"x" * LONGEST_MESSAGE + b'"}', None),
]
PING = b'{"jsonrpc":"2.0","id":"after","method":"ping"}'


class StdioLines:
    """The two pipes of a gateway."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process, self.input, self._output = process, process.stdin, process.stdout

    async def reply(self) -> dict[str, Any]:
        async with asyncio.timeout(60):
            found: dict[str, Any] = json.loads(await self._output.readline())
        return found

    async def ask(self, line: bytes) -> dict[str, Any]:
        self.input.write(line + b"\n")
        await self.input.drain()
        return await self.reply()

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        return await self.ask(json.dumps({"jsonrpc": "2.0", "id": 0, "method": method, "params": params}).encode())

    async def rest(self) -> bytes:
        """End the input, and return what comes until the gateway has ended."""
        self.input.close()
        async with asyncio.timeout(60):
            return await self._output.read()

    async def stop_reading(self) -> None:
        """Close the pipe from the gateway, and ask for replies until the gateway has noticed."""
        self.process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]

        async def ended() -> bool:
            with suppress(ConnectionError):
                self.input.write(PING + b"\n")
                await self.input.drain()
            return self.process.returncode is not None

        await eventually(ended, what="the end of the gateway")


@asynccontextmanager
async def lines_of(installation: RunningInstallation) -> AsyncIterator[StdioLines]:
    start = command(installation)
    environ = {**os.environ, **(start.env or {})}
    process = await asyncio.create_subprocess_exec(
        *tie(), start.command, *start.args, env=environ, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    lines = StdioLines(process)
    try:
        yield lines
        if process.returncode is None:
            await lines.rest()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("era", ["handshake", "modern"])
async def test_each_line_that_is_no_message_gets_one_error_and_the_connection_goes_on(
    installation: RunningInstallation, era: str
) -> None:
    async with lines_of(installation) as lines:
        if era == "handshake":
            assert (await lines.call("initialize", **INITIALIZE))["result"]["serverInfo"]["name"] == "writ"
            ping = PING
        else:
            assert (await lines.call("server/discover", _meta=MODERN))["result"]["capabilities"]
            request = {"jsonrpc": "2.0", "id": "after", "method": "prompts/list", "params": {"_meta": MODERN}}
            ping = json.dumps(request).encode()
        for line in NOT_JSON:
            reply = await lines.ask(line)
            assert (reply["id"], reply["error"]["code"]) == (None, -32700), line[:80]
        for line, number in NO_MESSAGE:
            reply = await lines.ask(line)
            assert (reply["id"], reply["error"]["code"]) == (number, -32600), line[:80]
        assert (await lines.ask(b"\r\n   \n" + ping))["id"] == "after"


async def test_malformed_lines_before_the_first_request_are_answered_too(installation: RunningInstallation) -> None:
    async with lines_of(installation) as lines:
        for _ in range(20):  # the SDK keeps eight messages until the first request
            assert (await lines.ask(b"{"))["error"]["code"] == -32700
        assert (await lines.call("initialize", **INITIALIZE))["result"]["serverInfo"]["name"] == "writ"


async def test_unknown_methods_and_versions_get_the_errors_of_the_protocol(installation: RunningInstallation) -> None:
    async with lines_of(installation) as lines:
        meta = MODERN | {"io.modelcontextprotocol/protocolVersion": "1999-01-01"}
        assert (await lines.call("initialize", **INITIALIZE | {"protocolVersion": "1999-01-01"}))["result"][
            "protocolVersion"
        ] == "2025-11-25"
        assert (await lines.call("nothing"))["error"]["code"] == -32601
        assert (await lines.call("tools/list", _meta=meta))["error"]["code"] == -32600
    async with lines_of(installation) as lines:
        assert (await lines.call("server/discover", _meta=meta))["error"]["code"] == -32022


async def test_a_message_as_long_as_permitted_is_read(installation: RunningInstallation) -> None:
    async with lines_of(installation) as lines:
        await lines.call("initialize", **INITIALIZE)
        assert (await lines.ask(PING + b" " * (LONGEST_MESSAGE - len(PING))))["result"] == {}
        reply = await lines.ask(PING + b" " * (LONGEST_MESSAGE - len(PING) + 1))
        assert f"{LONGEST_MESSAGE:,} bytes" in reply["error"]["message"]


async def test_an_input_that_ends_within_a_message_is_answered_before_the_end(
    installation: RunningInstallation,
) -> None:
    """So is a request before it, which takes a while."""
    read = {"name": "read", "arguments": {"operation_type": "test_noop", "target_id": "web-1"}}
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": read}
    async with lines_of(installation) as lines:
        await lines.call("initialize", **INITIALIZE)
        lines.input.write(json.dumps(request).encode() + b"\n" + PING[:-5])
        replies = {one.get("id"): one for one in map(json.loads, (await lines.rest()).splitlines())}
    assert replies[None]["error"]["code"] == -32700
    assert replies[1]["result"]["structuredContent"]["operation_id"]


async def test_a_client_that_reads_no_more_ends_the_gateway_without_a_traceback(
    installation: RunningInstallation,
) -> None:
    async with lines_of(installation) as lines:
        await lines.call("initialize", **INITIALIZE)
        await lines.stop_reading()
        assert lines.process.stderr is not None
        assert await lines.process.stderr.read() == b""


@pytest.fixture
def _signals_of_a_terminal() -> Iterator[None]:
    """A shell's background job, such as a run of tests, may ignore SIGINT, and so do the processes that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_signals_of_a_terminal")
@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM"])
async def test_a_signal_ends_a_gateway_whose_client_is_silent(
    installation: RunningInstallation, signal_name: str
) -> None:
    """The client holds its end open and writes nothing: a blocked read must not hold up the end."""
    async with lines_of(installation) as lines:
        await lines.call("initialize", **INITIALIZE)
        lines.process.send_signal(signal.Signals[signal_name])
        async with asyncio.timeout(60):
            status = await lines.process.wait()
        assert status in (0, -signal.SIGTERM)


async def queue_full(reading: StandardInput, writable: int) -> None:
    """Wait until one chunk is queued, and the thread waits to queue another."""

    async def one_is_queued() -> bool:
        return reading._chunks.full()

    async def another_waits() -> bool:
        return bool(reading._chunks._putters)  # type: ignore[attr-defined]

    os.write(writable, b"x")
    await eventually(one_is_queued)
    os.write(writable, b"x")
    await eventually(another_waits)


@pytest.mark.parametrize("waiting", [False, True], ids=["in a read", "for the event loop"])
async def test_the_reading_thread_ends_quietly_with_the_event_loop(
    waiting: bool, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    raised = list[object]()
    monkeypatch.setattr(threading, "excepthook", raised.append)
    readable, writable = os.pipe()
    started = list[threading.Thread]()

    async def begin() -> None:
        reading = StandardInput(readable, LONGEST_MESSAGE)
        os.write(writable, PING + b"\n")
        assert await anext(reading.lines()) == PING
        started.extend(one for one in threading.enumerate() if one.name == "standard input")
        if waiting:
            await queue_full(reading, writable)

    await asyncio.to_thread(asyncio.run, begin())
    os.close(writable)
    for thread in started:
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()
    os.close(readable)
    assert len(started) == 1
    assert raised == []
    assert [str(one.message) for one in recwarn] == []
