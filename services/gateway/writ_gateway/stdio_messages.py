"""JSON-RPC messages on standard input, one a line. A line that is none gets an error as its reply, as over HTTP.

The SDK drops such a line without a reply, and reads a line of any length into memory (mcp 2.3, `mcp.server.stdio`).
"""

import asyncio
import io
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp.types import INVALID_REQUEST

from writ_bus import tasks
from writ_gateway.json_rpc import MalformedMessage, parsed
from writ_gateway.open_requests import OpenRequests, ReplyStream
from writ_runtime.logs import Log

Incoming = SessionMessage | Exception
_log = Log("writ.gateway")
CHUNK = 65_536
PATIENCE = 5.0
"""Seconds for the replies to a client that has ended its input. Clients end a server that stays for longer."""


class StandardInput:
    """The lines of a file descriptor, of at most `longest` bytes each.

    A thread reads, since standard input may be a file, which no event loop can watch. It is a daemon: a read without an
    end must not hold up the end of the process.
    """

    def __init__(self, descriptor: int, longest: int) -> None:
        self._descriptor = descriptor
        self.longest = longest
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(1)
        self._loop = asyncio.get_running_loop()

    async def lines(self) -> AsyncIterator[bytes | None]:
        """Yield each line that is not blank, the last one also without its end; None for one that is too long."""
        threading.Thread(target=self._read, name="standard input", daemon=True).start()
        part, too_long = bytearray(), False
        while chunk := await self._chunks.get():
            *ended, rest = chunk.split(b"\n")
            for piece in ended:
                part += piece
                if too_long or len(part) > self.longest:
                    yield None
                elif part.strip():
                    yield bytes(part)
                part, too_long = bytearray(), False
            part += rest
            if len(part) > self.longest:
                part, too_long = bytearray(), True
        if too_long:
            yield None
        elif part.strip():
            yield bytes(part)

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._descriptor, CHUNK)
            except OSError:  # such as a terminal that has gone
                chunk = b""
            queueing = self._chunks.put(chunk)
            try:
                asyncio.run_coroutine_threadsafe(queueing, self._loop).result()
            except (RuntimeError, CancelledError):  # the event loop has ended, or ends
                queueing.close()
                return
            if not chunk:
                return


@asynccontextmanager
async def messages(
    longest: int, cut_short: Callable[[], None]
) -> AsyncIterator[tuple[MemoryObjectReceiveStream[Incoming], ReplyStream]]:
    """Yield the streams of an MCP server on standard input and output. `longest`: bytes of a message.

    A client that reads no more ends the block, as one that writes no more does, once its requests have their replies:
    after `PATIENCE` their waits are `cut_short`, and after the same time again the rest is left.
    """
    nothing = anyio.wrap_file(io.StringIO())
    reading = StandardInput(_private(0, os.open(os.devnull, os.O_RDONLY)), longest)
    output = _private(1, os.dup(2) if sys.stderr else os.open(os.devnull, os.O_WRONLY))
    replies = io.TextIOWrapper(os.fdopen(output, "wb", closefd=False), encoding="utf-8")
    incoming, received = anyio.create_memory_object_stream[Incoming](0)
    try:
        async with stdio_server(stdin=nothing, stdout=anyio.wrap_file(replies)) as (unused, writing):
            await unused.aclose()
            requests = OpenRequests()
            passing = _pass_on(reading, incoming, writing.clone(), requests, cut_short)
            reader = tasks.spawn(passing, "standard input")
            try:
                yield received, ReplyStream(writing, requests)
            finally:
                reader.cancel()
    except* BrokenPipeError:
        _replace(output, os.open(os.devnull, os.O_WRONLY))  # what is still buffered is written at the end
        _log.info("stdio.client_gone")


def _private(descriptor: int, instead: int) -> int:
    """Return a private duplicate of a standard descriptor, which itself becomes `instead`, also for children."""
    private = os.dup(descriptor)
    _replace(descriptor, instead)
    return private


def _replace(descriptor: int, other: int) -> None:
    os.dup2(other, descriptor, inheritable=descriptor <= 2)
    os.close(other)


async def _pass_on(
    reading: StandardInput,
    incoming: MemoryObjectSendStream[Incoming],
    replies: MemoryObjectSendStream[SessionMessage],
    requests: OpenRequests,
    cut_short: Callable[[], None],
) -> None:
    async with incoming, replies:
        async for line in reading.lines():
            try:
                if line is None:
                    raise MalformedMessage(INVALID_REQUEST, f"the message is longer than {reading.longest:,} bytes")
                message = parsed(line)
                requests.came(message)
                await incoming.send(SessionMessage(message))
            except MalformedMessage as error:
                await replies.send(SessionMessage(error.reply))
        if not await requests.end(PATIENCE):
            cut_short()
            await requests.end(PATIENCE)
