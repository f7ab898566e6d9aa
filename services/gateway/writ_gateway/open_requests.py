"""The requests of a client that have no reply yet: they get theirs when the client has ended its input."""

import asyncio
from types import TracebackType
from typing import Self

from anyio.streams.memory import MemoryObjectSendStream
from mcp.shared.dispatcher import as_request_id, coerce_request_id
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCError, JSONRPCMessage, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse


class OpenRequests:
    """The ids of requests without a reply, where "7" is 7, as for the library. A cancelled request gets no reply."""

    def __init__(self) -> None:
        self._ids: set[object] = set()
        self._none = asyncio.Event()
        self._none.set()

    def came(self, message: JSONRPCMessage) -> None:
        """Note a message of the client."""
        if isinstance(message, JSONRPCRequest):
            self._ids.add(coerce_request_id(message.id))
            self._none.clear()
        elif isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            self._end((message.params or {}).get("requestId"))

    def left(self, message: JSONRPCMessage) -> None:
        """Note a message to the client."""
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            self._end(message.id)

    async def end(self, within: float) -> bool:
        """Return whether all of them have their reply within so many seconds."""
        try:
            async with asyncio.timeout(within):
                await self._none.wait()
        except TimeoutError:
            return False
        return True

    def _end(self, number: object) -> None:
        if (known := as_request_id(number)) is not None:
            self._ids.discard(coerce_request_id(known))
        if not self._ids:
            self._none.set()


class ReplyStream:
    """The stream of messages to the client, which ends open requests."""

    def __init__(self, stream: MemoryObjectSendStream[SessionMessage], requests: OpenRequests) -> None:
        self._stream = stream
        self._requests = requests

    async def send(self, item: SessionMessage, /) -> None:
        """Send a message to the client."""
        await self._stream.send(item)
        self._requests.left(item.message)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
