"""Authentication of HTTP requests by bearer token (RFC 6750), before a body is read."""

import logging
import time
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct

from writ_contracts.errors import Unreachable
from writ_contracts.installation.gateway_tokens import GatewayToken
from writ_gateway.http.asgi import Application, Receive, Scope, Send, refuse, reply
from writ_gateway.http.issuers import SCOPE, Issuer, has_scope, metadata, session_of
from writ_gateway.http.served_principals import ServedPrincipals
from writ_gateway.http.time_limits import MOST_CONNECTIONS
from writ_gateway.http.tokens import TokenRates, Tokens
from writ_gateway.http.unauthenticated import UnauthenticatedRequests
from writ_gateway.refusals import Refusals
from writ_gateway.server import LONGEST_MESSAGE
from writ_runtime.logs import Log

if TYPE_CHECKING:
    from writ_gateway.http.access_tokens import AccessTokens

IDENTITY = "writ.identity"
HEALTH = "/healthz"
METADATA = "/.well-known/oauth-protected-resource"
MOST_OPEN = MOST_CONNECTIONS // 4
"""Requests of one principal that are handled at once: a call may wait for an operation for 50 s."""
MOST_OPEN_BYTES = 16 * 1024 * 1024
"""Their bodies together. The gateway needs five times as much memory for them (`value_limit`), and has 1 GB under
systemd.
"""
MOST_BYTES = 8 * MOST_OPEN_BYTES
"""The bodies of all principals together. Each may have as much as is free then: so many of them leave room for another.
"""
_log = Log("writ.gateway")


class CallerIdentity(Struct, frozen=True, kw_only=True):
    """Whose request it is. `session`: the token's id, or the `sid` or `jti` of an access token."""

    principal: str
    session: str
    token: GatewayToken | None = None


class BearerAuthentication:
    """An ASGI application around another one, which finds the identity in the scope.

    `served`: a token of the file counts only for the principal for which it was made. `issuer`: an authorization server
    whose access tokens count beside the tokens of the file.
    """

    def __init__(
        self,
        inner: Application,
        tokens: Tokens,
        served: ServedPrincipals,
        issuer: Issuer | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        self._inner = inner
        self._tokens = tokens
        self._served = served
        self._issuer = issuer
        self._access = _access_tokens(issuer) if issuer else None
        self._rates = TokenRates()
        self._open = Counter[str]()
        self._open_bytes = Counter[str]()
        self._refusals = refusals or Refusals()
        # By the protocol of MCP a client of an authorization server sends its first request without a token.
        self._unauthenticated = {
            True: UnauthenticatedRequests(logging.WARNING),
            False: UnauthenticatedRequests(logging.INFO),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request with a valid token; reply 401 to any other, or 403 if the scope is missing."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
        elif _has_two_lengths(scope):
            text = "a body has a length or comes in chunks, not both"
            await refuse(send, 400, "invalid_request", text, (b"connection", b"close"))
        elif scope["path"] == HEALTH:
            await reply(send, 200, {"status": "ok"})
        elif self._issuer and scope["path"].startswith(METADATA):
            await reply(send, 200, metadata(self._issuer))
        else:
            await self._authenticated(scope, receive, send)

    async def _authenticated(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = bearer_of(scope)
        known = self._tokens.find(token)
        if known is not None:
            await self._served.refresh()
        if known is not None and self._served.holds(known):
            identity = CallerIdentity(principal=known.principal, session=known.id, token=known)
            await self._limited(identity, scope, receive, send)
            return
        try:
            claims = await self._access.claims(token) if self._access is not None and token else None
        except Unreachable as error:
            _log.warning("access_token.not_verified", error=str(error)[:500])
            text = "the authorization server does not answer: try again in 5 s"
            await refuse(send, 503, "temporarily_unavailable", text, (b"retry-after", b"5"))
            return
        if self._access is None or claims is None or (principal := self._access.principal(claims)) is None:
            self._unauthenticated[_has_credentials(scope)].note(_address(scope))
            await self._refuse(send, 401, "invalid_token")
        elif not has_scope(claims):
            await self._refuse(send, 403, "insufficient_scope")
        else:
            identity = CallerIdentity(principal=principal, session=session_of(claims))
            await self._shared(identity, scope, receive, send)

    async def _limited(self, identity: CallerIdentity, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request within the rate of its token; else reply 429 (RFC 6585)."""
        token = identity.token
        if token is not None and token.rate is not None and not self._rates.take(token, time.monotonic()):
            message = f"this token is for {token.rate} requests a minute: wait"
            await self._refuse_excess(identity, send, message, -(-60 // token.rate))
            return
        await self._shared(identity, scope, receive, send)

    async def _shared(self, identity: CallerIdentity, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a POST within its principal's share of the connections and of the memory; else reply 429 or 405.

        Nothing is ever sent on the stream of a GET. It would stay open, and count, after its token was revoked.
        """
        if scope["method"] != "POST":
            text = "this server has no sessions: POST each request"
            await refuse(send, 405, "method_not_allowed", text, (b"allow", b"POST"))
            return
        who, size = identity.principal, _body_size(scope)
        if self._open[who] >= MOST_OPEN or self._open_bytes[who] + size > MOST_OPEN_BYTES:
            message = f"{self._open[who]} requests of this principal are open, with {self._open_bytes[who]} bytes: wait"
            await self._refuse_excess(identity, send, message, 1)
            return
        if self._open_bytes[who] + size > MOST_BYTES - self._open_bytes.total():
            text = f"the open requests of all principals have {self._open_bytes.total()} bytes: wait 1 s"
            await refuse(send, 429, "overloaded", text, (b"retry-after", b"1"))
            return
        self._open[who] += 1
        self._open_bytes[who] += size
        try:
            await self._inner({**scope, IDENTITY: identity}, receive, send)
        finally:
            self._open[who] -= 1
            self._open_bytes[who] -= size

    async def _refuse_excess(self, identity: CallerIdentity, send: Send, message: str, seconds: int) -> None:
        self._refusals.note(identity.principal, "rate_limited", session=identity.session)
        await refuse(send, 429, "rate_limited", f"{message} {seconds} s", (b"retry-after", str(seconds).encode()))

    async def _refuse(self, send: Send, status: int, error: str) -> None:
        challenge = f'Bearer realm="writ", error="{error}"'
        if self._issuer:
            address = urlsplit(self._issuer.audience)
            where = f"{address.scheme}://{address.netloc}{METADATA}{address.path}"
            challenge += f', scope="{SCOPE}", resource_metadata="{where}"'
        text = "no valid token for this gateway: it is unknown, revoked or expired, or lacks the scope"
        await refuse(send, status, error, text, (b"www-authenticate", challenge.encode()))


def _access_tokens(issuer: Issuer) -> "AccessTokens":
    from writ_gateway.http.access_tokens import AccessTokens  # noqa: PLC0415 - 8 MB of cryptography

    return AccessTokens(issuer)


def _has_two_lengths(scope: Scope) -> bool:
    """Return whether a proxy in front may see another end of the request, and others' bytes behind it (RFC 9112,
    section 6.3).
    """
    names = {name for name, _ in scope["headers"]}
    return b"transfer-encoding" in names and (b"content-length" in names or scope["http_version"] == "1.0")


def _address(scope: Scope) -> str:
    """Return the address of the connection: that of the proxy, if there is one."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def _body_size(scope: Scope) -> int:
    """Return the size of the body by its head, at most the longest that is read; this for a body in chunks."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    known = b"transfer-encoding" not in headers and length.isdigit()
    return min(int(length), LONGEST_MESSAGE) if known else LONGEST_MESSAGE


def _has_credentials(scope: Scope) -> bool:
    return any(name == b"authorization" for name, _ in scope["headers"])


def bearer_of(scope: Scope) -> str:
    """Return the token of the one Authorization header; "" where there is none, another scheme, or several."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(values) != 1:
        return ""
    scheme, _, token = values[0].decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
