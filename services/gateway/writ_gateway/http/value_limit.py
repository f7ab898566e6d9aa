"""ASGI middleware that refuses a request of many small values, which cost 30 times their bytes and hold up the others.

Bodies of 16 MB of empty lists took 400 MB, and no other request had a turn for seconds. Text costs no more than its
bytes, so what looks like a value inside of a string does not count.
"""

from writ_contracts.json_values import may_exceed
from writ_gateway.http.asgi import Application, Message, Receive, Scope, Send, refuse
from writ_gateway.server import LONGEST_MESSAGE

MOST_VALUES = 100_000
"""A policy of thousands of rules, sent as an object, has fewer."""


class ValueLimit:
    """An ASGI application around another one, which receives the body in one message."""

    def __init__(self, inner: Application) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or reply 413. A body that is too long is passed on for the refusal of the inner one."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        first, body = await _whole(receive)
        if first is None and may_exceed(body, MOST_VALUES):
            text = f"the body may have more than {MOST_VALUES:,} values"
            await refuse(send, 413, "too_large", text)
            return
        waiting = [first or {"type": "http.request", "body": body, "more_body": False}]

        async def received() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._inner(scope, received, send)


async def _whole(receive: Receive) -> tuple[Message | None, bytes]:
    """Return the body; with a message to pass on where it is not whole."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return message, b""
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return None, bytes(body)
        if len(body) > LONGEST_MESSAGE:
            return {"type": "http.request", "body": bytes(body), "more_body": True}, b""
