"""Limits on slow clients: times for the head of a request, for its body, and for taking the reply; and idle
connections make way.

uvicorn limits none of the three times: a client sending a byte a minute would hold its connection until the gateway
ends. Where it has `MOST_CONNECTIONS`, it replies 503 to everybody, and connections without a token count.
"""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from writ_gateway.http.asgi import Application, Message, Receive, Scope, Send, reply

HEAD_SECONDS, BODY_SECONDS, REPLY_SECONDS = 10.0, 20.0, 20.0
MOST_CONNECTIONS = 1000


class TimedProtocol(H11Protocol):
    """HTTP/1.1 with `HEAD_SECONDS` for the head of each request; then the connection is closed."""

    head_seconds = HEAD_SECONDS
    most_connections = MOST_CONNECTIONS
    _head_due: asyncio.TimerHandle | None = None
    _opened = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head. Where this is one connection too many, the oldest one without a request ends."""
        super().connection_made(transport)
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
        """Take in data. The first byte of another head starts its time limit."""
        super().data_received(data)
        if self.is_idle:
            self._wait_for_head()
        else:
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timer of the head."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        if self._head_due is None:
            self._head_due = self.loop.call_later(self.head_seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None


class TimeLimits:
    """ASGI middleware: reply 408 to a late body, and close a connection whose client does not read the reply."""

    def __init__(
        self, inner: Application, body_seconds: float = BODY_SECONDS, reply_seconds: float = REPLY_SECONDS
    ) -> None:
        self._inner = inner
        self._body_seconds = body_seconds
        self._reply_seconds = reply_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under the limits."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        timed = _TimedRequest(receive, send, self._body_seconds, self._reply_seconds)
        try:
            await self._inner(scope, timed.receive, timed.send)
        except TimeoutError:
            if not timed.late:
                raise
            if not timed.started:
                body = {"error": "timeout", "message": "the body of the request did not come in time"}
                await reply(send, 408, body, (b"connection", b"close"))


class _TimedRequest:
    """One request. `late`: a limit was reached; `started`: the reply has begun."""

    def __init__(self, receive: Receive, send: Send, body_seconds: float, reply_seconds: float) -> None:
        self._receive = receive
        self._send = send
        self._body_until = asyncio.get_running_loop().time() + body_seconds
        self._reply_seconds = reply_seconds
        self._whole = False
        self.late = self.started = False

    async def receive(self) -> Message:
        """Receive the next message. After the whole body only the client's disconnect follows, without a limit."""
        if self._whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._body_until):
                message = await self._receive()
        except TimeoutError:
            self.late = True
            raise
        self._whole = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Send a part, once the client has read enough of those before."""
        self.started = True
        try:
            async with asyncio.timeout(self._reply_seconds):
                await self._send(message)
        except TimeoutError:
            self.late = True
            raise
