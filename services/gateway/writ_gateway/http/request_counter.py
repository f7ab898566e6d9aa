"""Counts of HTTP requests, as the outermost layer: refused requests count as well."""

from writ_gateway.http.asgi import Application, Message, Receive, Scope, Send
from writ_gateway.http.metrics import GatewayMeasures
from writ_runtime.metrics import Metrics


class RequestCounter:
    """An ASGI application around another one."""

    def __init__(self, inner: Application, measured: Metrics) -> None:
        self._inner = inner
        self._open = 0
        self._measures = GatewayMeasures(measured, lambda: self._open)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count its reply by status."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._measures.replied(message["status"])
            await send(message)

        self._open += 1
        try:
            await self._inner(scope, receive, counted)
        finally:
            self._open -= 1
