"""Access tokens of an OAuth 2.1 authorization server: JWTs by its published keys (RFC 9068, RFC 8707).

The gateway is a resource server alone. A token counts if its issuer, audience, lifetime, scope and signature hold, and
its claim names one of the principals that this gateway may serve.
"""

import asyncio
from collections.abc import Collection
from pathlib import Path
from typing import Any

import jwt
from msgspec import Struct

from writ_runtime.logs import Log

ALGORITHMS = ("ES256", "RS256", "PS256", "EdDSA")
"""Asymmetric ones: with a shared secret the gateway could make tokens itself."""
SCOPE = "writ"
LEEWAY_SECONDS = 30
KEYS_SECONDS = 300
FETCH_SECONDS = 5
LONGEST = 8192
_log = Log("writ.gateway")


class Issuer(Struct, frozen=True, kw_only=True):
    """Whose tokens count here. `jwks`: a file or an https address; `claim`: where the principal stands."""

    issuer: str
    audience: str
    jwks: str
    claim: str
    principals: Collection[str]


class AccessTokens:
    """Verifies access tokens. Keys are fetched when one is needed that is not known, at most every five minutes."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._client = None
        if "://" in issuer.jwks:
            self._client = jwt.PyJWKClient(issuer.jwks, lifespan=KEYS_SECONDS, timeout=FETCH_SECONDS)

    async def claims(self, token: str) -> dict[str, Any] | None:
        """The claims of a token that is good now; None for any other one."""
        if len(token) > LONGEST or token.count(".") != 2:
            return None
        try:
            return await asyncio.to_thread(self._verified, token)
        except (jwt.PyJWTError, KeyError, OSError, ValueError) as error:  # KeyError: a key that is not published
            _log.info("access_token.refused", reason=type(error).__name__)
            return None

    def _verified(self, token: str) -> dict[str, Any]:
        found: dict[str, Any] = jwt.decode(
            token,
            self._key(token),
            algorithms=list(ALGORITHMS),
            audience=self._issuer.audience,
            issuer=self._issuer.issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
        return found

    def _key(self, token: str) -> jwt.PyJWK:
        if self._client is not None:
            return self._client.get_signing_key_from_jwt(token)
        return jwt.PyJWKSet.from_json(Path(self._issuer.jwks).read_text())[jwt.get_unverified_header(token)["kid"]]

    def principal(self, claims: dict[str, Any]) -> str | None:
        """The principal that the token names, if this gateway may serve it."""
        named = claims.get(self._issuer.claim)
        return named if isinstance(named, str) and named in self._issuer.principals else None


def has_scope(claims: dict[str, Any]) -> bool:
    """The token is meant for Writ: `scope` (RFC 8693) is a text, or a list as some servers write it."""
    scope = claims.get("scope", "")
    return SCOPE in (scope.split() if isinstance(scope, str) else scope if isinstance(scope, list) else ())


def session_of(claims: dict[str, Any]) -> str:
    """Return the session by which the authorization server knows it, else the token's own id, else the client's."""
    named = (claims.get(name) for name in ("sid", "jti", "sub"))
    return next((one for one in named if isinstance(one, str) and one), "")


def metadata(issuer: Issuer) -> dict[str, Any]:
    """The protected resource metadata (RFC 9728)."""
    return {
        "resource": issuer.audience,
        "authorization_servers": [issuer.issuer],
        "scopes_supported": [SCOPE],
        "bearer_methods_supported": ["header"],
    }
