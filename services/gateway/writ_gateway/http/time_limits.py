"""Limits on slow clients: a time for the head of a request, a least rate for its body and for taking the reply; the
memory of requests and replies that wait; and idle connections make way.

uvicorn limits none of the three: a client sending a byte a minute would hold its connection until the gateway
ends. Where it has `MOST_CONNECTIONS`, it replies 503 to everybody, and connections without a token count.
"""

import asyncio
import fcntl
import struct
import termios
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from writ_gateway.http.asgi import Application, Message, Receive, Scope, Send, refuse

HEAD_SECONDS, BODY_SECONDS, REPLY_SECONDS = 10.0, 20.0, 20.0
LEAST_PROGRESS = 64 * 1024
"""Bytes of a body or a reply that must pass within its seconds: 3 kB/s, so that 1 MB passes on any link in use."""
MOST_CONNECTIONS = 1000
MOST_UNREAD = 128 * 1024 * 1024
"""Bytes of replies that wait for their clients, of all connections: an eighth of the memory under systemd."""
PIECE = 64 * 1024


class _PipelineFlow(FlowControl):
    """Reads nothing more while a further request waits. uvicorn resumes with each wait for the client's disconnect, so
    that one client's requests filled the memory.
    """

    def __init__(self, transport: asyncio.Transport, has_next: Callable[[], bool]) -> None:
        super().__init__(transport)
        self._has_next = has_next

    def resume_reading(self) -> None:
        if not self._has_next():
            super().resume_reading()


class _QueuedTransport:
    """A TLS transport that gets a reply in pieces, each when the one before is in the socket's buffer. It encrypts at
    once what it gets, and does not count what it has encrypted.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._waiting = bytearray()
        self._is_paused = self._is_closing = False

    def write(self, data: bytes) -> None:
        self._waiting += data
        self._send()

    def pause(self) -> None:
        self._is_paused = True

    def resume(self) -> bool:
        """Send what waits. Return whether all of it was taken."""
        self._is_paused = False
        self._send()
        return not self._is_paused

    def _send(self) -> None:
        while self._waiting and not self._is_paused:
            piece = bytes(self._waiting[:PIECE])
            del self._waiting[:PIECE]
            self._transport.write(piece)
        if self._is_closing and not self._waiting and not self._transport.is_closing():
            self._transport.close()

    def close(self) -> None:
        """Close after what waits was sent, as every transport does."""
        self._is_closing = True
        self._send()

    def is_closing(self) -> bool:
        return self._is_closing or self._transport.is_closing()

    def get_write_buffer_size(self) -> int:
        return len(self._waiting) + self._transport.get_write_buffer_size()

    def clear(self) -> None:
        """Forget what waits, since the connection is lost."""
        self._waiting.clear()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class TimedProtocol(H11Protocol):
    """HTTP/1.1 with `HEAD_SECONDS` for the head of each request. A client that does not take `LEAST_PROGRESS` of a
    reply in each `REPLY_SECONDS` loses its connection.
    """

    head_seconds = HEAD_SECONDS
    reply_seconds = REPLY_SECONDS
    least_progress = LEAST_PROGRESS
    most_connections = MOST_CONNECTIONS
    most_unread = MOST_UNREAD
    _head_due: asyncio.TimerHandle | None = None
    _reply_due: asyncio.TimerHandle | None = None
    _queue: _QueuedTransport | None = None
    _opened = 0.0
    _unread = 0
    """Bytes of the reply that were not taken when the present time limit began."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head. Where this is one connection too many, the oldest one without a request ends."""
        super().connection_made(transport)
        if self.scheme == "https":
            self._queue = _QueuedTransport(transport)
            self.transport = cast("asyncio.Transport", self._queue)
        self.flow = _PipelineFlow(transport, self._has_next)
        # `pause_writing` notes each part that is not sent at once. With 0, a TLS transport pauses also without one.
        transport.set_write_buffer_limits(high=1)
        self._opened = self.loop.time()
        self._wait_for_head()
        if len(self.connections) >= self.most_connections:
            self._make_room()

    def _make_room(self) -> None:
        """Abort the oldest connection without a request, and count it no longer: uvloop reports its end a turn later
        than the first bytes of this one, which would get 503.
        """
        others = (one for one in self.connections if isinstance(one, TimedProtocol) and one is not self)
        idle = [one for one in others if one.is_idle and not one.transport.is_closing()]
        if idle:
            oldest = min(idle, key=lambda one: one._opened)
            oldest.transport.abort()
            self.connections.discard(oldest)

    @property
    def is_idle(self) -> bool:
        """Return whether no request is being handled on the connection."""
        cycle: RequestResponseCycle | None = self.cycle  # None until the first head is whole
        return cycle is None or cycle.response_complete

    def data_received(self, data: bytes) -> None:
        """Take in data. The first byte of another head starts its time limit. A TLS transport still reads while it
        closes.
        """
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.is_idle:
            self._wait_for_head()
        else:
            self._stop_waiting()

    def _has_next(self) -> bool:
        """Return whether bytes of another request wait until this one has its reply."""
        return not self.is_idle and not self.cycle.more_body and bool(self.conn.trailing_data[0])

    def pause_writing(self) -> None:
        """Abort the connection unless the client goes on taking what was written. A close would wait for that, too."""
        super().pause_writing()
        if self._queue is not None:
            self._queue.pause()
        if self._reply_due is None:
            self._wait_for_reader()
        sizes = {one: one.transport.get_write_buffer_size() for one in self.connections}
        if sum(sizes.values()) > self.most_unread:
            max(sizes, key=sizes.__getitem__).transport.abort()

    def resume_writing(self) -> None:
        if self._queue is None or self._queue.resume():
            super().resume_writing()
            self._stop_reply_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        if self._queue is not None:
            self._queue.clear()
        self._stop_waiting()
        self._stop_reply_timer()
        super().connection_lost(exc)

    def _wait_for_reader(self) -> None:
        self._unread = self._untaken()
        self._reply_due = self.loop.call_later(self.reply_seconds, self._check_reader)

    def _check_reader(self) -> None:
        if self._unread - self._untaken() < self.least_progress:
            self.transport.abort()
        else:
            self._wait_for_reader()

    def _untaken(self) -> int:
        """Return the bytes that the client has not acknowledged. The kernel's share may be megabytes, and it takes more
        only when a third of them is free: without it a slow client would seem to take nothing for minutes.
        """
        descriptor = self.transport.get_extra_info("socket").fileno()
        if descriptor < 0:
            return 0
        (in_kernel,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
        return int(in_kernel) + self.transport.get_write_buffer_size()

    def _stop_reply_timer(self) -> None:
        if self._reply_due is not None:
            self._reply_due.cancel()
            self._reply_due = None

    def _wait_for_head(self) -> None:
        if self._head_due is None:
            self._head_due = self.loop.call_later(self.head_seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None


class BodyLimit:
    """ASGI middleware: reply 408 to a body of which less than `LEAST_PROGRESS` comes within the seconds."""

    def __init__(self, inner: Application, seconds: float = BODY_SECONDS) -> None:
        self._inner = inner
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under the limit."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        timed = _TimedRequest(receive, send, self._seconds)
        try:
            await self._inner(scope, timed.receive, timed.send)
        except TimeoutError:
            if not timed.late:
                raise
            if not timed.started:
                text = "the body of the request did not come in time"
                await refuse(send, 408, "timeout", text, (b"connection", b"close"))


class _TimedRequest:
    """One request. `late`: the limit was reached; `started`: the reply has begun."""

    def __init__(self, receive: Receive, send: Send, seconds: float) -> None:
        self._receive = receive
        self._send = send
        self._seconds = seconds
        self._until = asyncio.get_running_loop().time() + seconds
        self._came = 0
        self._whole = False
        self.late = self.started = False

    async def receive(self) -> Message:
        """Receive the next message. After the whole body only the client's disconnect follows, without a limit."""
        if self._whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            self.late = True
            raise
        self._whole = not message.get("more_body", False)
        self._came += len(message.get("body", b""))
        if self._came >= LEAST_PROGRESS:
            self._came, self._until = 0, asyncio.get_running_loop().time() + self._seconds
        return message

    async def send(self, message: Message) -> None:
        self.started = True
        await self._send(message)
