"""ASGI middleware that refuses a body that is too long, one that is no message of JSON-RPC, and one of many small
values, which cost 30 times their bytes and hold up the others.

Bodies of 16 MB of empty lists took 400 MB, and no other request had a turn for seconds. Text costs no more than its
bytes, so what looks like a value inside of a string does not count.
"""

from writ_contracts.json_values import may_exceed
from writ_gateway.http.asgi import Application, Message, Receive, Scope, Send, refuse, reply
from writ_gateway.json_rpc import MalformedMessage, parsed
from writ_gateway.server import LONGEST_MESSAGE

MOST_VALUES = 100_000
"""A policy of thousands of rules, sent as an object, has fewer."""


class ValueLimit:
    """An ASGI application around another one, which receives the body in one message."""

    def __init__(self, inner: Application) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or reply 400 or 413: at once by the length in its head."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        first, body = (None, b"") if _is_long(scope) else await _whole(receive)
        if _is_long(scope) or len(body) > LONGEST_MESSAGE:
            await refuse(send, 413, "too_large", f"the body is longer than {LONGEST_MESSAGE:,} bytes")
            return
        if first is None and may_exceed(body, MOST_VALUES):
            await refuse(send, 413, "too_large", f"the body may have more than {MOST_VALUES:,} values")
            return
        if first is None and _is_json_post(scope):
            try:
                parsed(body)
            except MalformedMessage as error:
                await reply(send, 400, error.reply.model_dump(exclude={"error": {"data"}}))
                return
        waiting = [first or {"type": "http.request", "body": body, "more_body": False}]

        async def received() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._inner(scope, received, send)


def _is_json_post(scope: Scope) -> bool:
    kind = dict(scope["headers"]).get(b"content-type", b"")
    return bool(scope["method"] == "POST" and kind.partition(b";")[0].strip().lower() == b"application/json")


def _is_long(scope: Scope) -> bool:
    length = dict(scope["headers"]).get(b"content-length", b"0")
    return length.isdigit() and int(length) > LONGEST_MESSAGE


async def _whole(receive: Receive) -> tuple[Message | None, bytes]:
    """Return the body, or of a longer one than is allowed a part that shows it; where it breaks off, the message that
    says so.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return message, b""
        body += message.get("body", b"")
        if len(body) > LONGEST_MESSAGE or not message.get("more_body", False):
            return None, bytes(body)
