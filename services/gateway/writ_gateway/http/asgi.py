"""The types of ASGI applications, and a reply as JSON (https://asgi.readthedocs.io/en/latest/specs/www.html)."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

REFUSED = -31000
"""A code that JSON-RPC leaves to applications: it reserves -32768 to -32000, and MCP has codes of its own there."""


async def reply(send: Send, status: int, body: dict[str, Any], *headers: tuple[bytes, bytes]) -> None:
    """Send a whole reply."""
    data = json.dumps(body).encode()
    all_headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
    await send({"type": "http.response.body", "body": data})


async def refuse(send: Send, status: int, code: str, message: str, *headers: tuple[bytes, bytes]) -> None:
    """Refuse a request before its message is read, by an error of JSON-RPC without an id, which MCP allows.

    Clients show its text to a model, and of another body nothing.
    """
    error = {"code": REFUSED, "message": message, "data": {"code": code}}
    await reply(send, status, {"jsonrpc": "2.0", "id": None, "error": error}, *headers)
