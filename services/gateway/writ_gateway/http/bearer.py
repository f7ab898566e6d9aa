"""Who sends an HTTP request: the principal of its bearer token (RFC 6750), before anything of it is read."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from writ_gateway.http.access_tokens import SCOPE, AccessTokens, Issuer, has_scope, metadata
from writ_gateway.http.tokens import Tokens

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
PRINCIPAL = "writ.principal"
HEALTH = "/healthz"
METADATA = "/.well-known/oauth-protected-resource"


class Bearer:
    """An ASGI application around another one, which finds the principal in the scope.

    `issuer`: an authorization server whose access tokens count beside the tokens of the file.
    """

    def __init__(self, inner: Application, tokens: Tokens, issuer: Issuer | None = None) -> None:
        self._inner = inner
        self._tokens = tokens
        self._issuer = issuer
        self._access = AccessTokens(issuer) if issuer else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what has a good token; anything else gets 401, or 403 where the scope is missing."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
        elif scope["path"] == HEALTH:
            await _reply(send, 200, {"status": "ok"})
        elif self._issuer and scope["path"].startswith(METADATA):
            await _reply(send, 200, metadata(self._issuer))
        else:
            await self._authenticated(scope, receive, send)

    async def _authenticated(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = bearer_of(scope)
        principal = self._tokens.principal(token)
        if principal is None and self._access is not None and token:
            claims = await self._access.claims(token)
            if claims is not None and not has_scope(claims):
                await self._refuse(send, 403, "insufficient_scope")
                return
            principal = self._access.principal(claims) if claims is not None else None
        if principal is None:
            await self._refuse(send, 401, "invalid_token")
            return
        await self._inner({**scope, PRINCIPAL: principal}, receive, send)

    async def _refuse(self, send: Send, status: int, error: str) -> None:
        challenge = f'Bearer realm="writ", error="{error}"'
        if self._issuer:
            address = urlsplit(self._issuer.audience)
            where = f"{address.scheme}://{address.netloc}{METADATA}{address.path}"
            challenge += f', scope="{SCOPE}", resource_metadata="{where}"'
        body = {"error": error, "message": "no token that is good here and now"}
        await _reply(send, status, body, (b"www-authenticate", challenge.encode()))


def bearer_of(scope: Scope) -> str:
    """The token of the one Authorization header; "" where there is none, another scheme, or several."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(values) != 1:
        return ""
    scheme, _, token = values[0].decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def _reply(send: Send, status: int, body: dict[str, Any], *headers: tuple[bytes, bytes]) -> None:
    data = json.dumps(body).encode()
    told = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": data})
