"""Who sends an HTTP request: the principal of its bearer token (RFC 6750), before anything of it is read."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from writ_gateway.http.tokens import Tokens

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
PRINCIPAL = "writ.principal"
HEALTH = "/healthz"


class Bearer:
    """An ASGI application around another one, which finds the principal in the scope."""

    def __init__(self, inner: Application, tokens: Tokens) -> None:
        self._inner = inner
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what has a good token; anything else gets 401."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
        elif scope["path"] == HEALTH:
            await reply(send, 200, {"status": "ok"})
        elif (principal := self._tokens.principal(bearer_of(scope))) is None:
            challenge = (b"www-authenticate", b'Bearer realm="writ", error="invalid_token"')
            await reply(send, 401, {"error": "invalid_token", "message": "no token that is good now"}, challenge)
        else:
            await self._inner({**scope, PRINCIPAL: principal}, receive, send)


def bearer_of(scope: Scope) -> str:
    """The token of the one Authorization header; "" where there is none, another scheme, or several."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(values) != 1:
        return ""
    scheme, _, token = values[0].decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def reply(send: Send, status: int, body: dict[str, str], *headers: tuple[bytes, bytes]) -> None:
    """One JSON reply."""
    data = json.dumps(body).encode()
    told = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": data})
