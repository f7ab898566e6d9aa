"""Access tokens of an OAuth 2.1 authorization server: JWTs by its published keys (RFC 9068, RFC 8707), or any tokens by
introspection (RFC 7662).

The gateway is only a resource server. A token counts if its issuer, audience, lifetime, scope and signature are right,
and its claim names one of the principals served by this gateway.
"""

import time
from pathlib import Path
from typing import Any

import jwt

from writ_gateway.http.introspection import IntrospectedTokens
from writ_gateway.http.issuers import Issuer
from writ_gateway.http.key_sets import FetchedKeys, FileKeys, KeySet
from writ_runtime.logs import Log

ALGORITHMS = ("ES256", "RS256", "PS256", "EdDSA")
"""Asymmetric ones: with a shared secret the gateway could make tokens itself."""
LEEWAY_SECONDS = 30
LONGEST = 8192
_log = Log("writ.gateway")


class AccessTokens:
    """Verifier of access tokens of one authorization server."""

    def __init__(
        self, issuer: Issuer, keys: KeySet | None = None, introspection: IntrospectedTokens | None = None
    ) -> None:
        """`keys`, `introspection`: used in place of the issuer's."""
        self._issuer = issuer
        self._keys = keys or keys_of(issuer.jwks)
        self._introspection = introspection or (
            IntrospectedTokens(issuer.introspector) if issuer.introspector else None
        )

    async def claims(self, token: str) -> dict[str, Any] | None:
        """Return the claims of a valid token; None for any other. Raises Unreachable if the authorization server does
        not answer.
        """
        if len(token) > LONGEST or not token.isascii():
            return None
        try:
            found = await self._verified(token) if self._keys else {}
        except (jwt.PyJWTError, ValueError) as error:
            _log.info("access_token.refused", reason=type(error).__name__)
            return None
        if found is None or self._introspection is None:
            return found
        active = await self._introspection.claims(token)
        return None if active is None or not self._holds(active) else {**active, **found}

    async def _verified(self, token: str) -> dict[str, Any] | None:
        assert self._keys is not None  # noqa: S101 - its caller has checked
        kid = jwt.get_unverified_header(token).get("kid")
        key = await self._keys.key(kid) if isinstance(kid, str) else None
        if key is None:
            return None
        found: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=list(ALGORITHMS),
            audience=self._issuer.audience,
            issuer=self._issuer.issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )
        return found

    def _holds(self, active: dict[str, Any]) -> bool:
        """Return whether an introspected token is for this gateway, from its issuer if it says one, and not expired."""
        audience, expires = active.get("aud"), active.get("exp")
        named = audience if isinstance(audience, list) else [audience]
        if self._issuer.audience not in named or active.get("iss", self._issuer.issuer) != self._issuer.issuer:
            return False
        return expires is None or (isinstance(expires, int | float) and time.time() < expires + LEEWAY_SECONDS)

    def principal(self, claims: dict[str, Any]) -> str | None:
        """Return the principal named by the token, if this gateway serves it."""
        named = claims.get(self._issuer.claim)
        return named if isinstance(named, str) and named in self._issuer.principals else None


def keys_of(jwks: str) -> KeySet | None:
    """Return the keys of a file or an address; None where there is neither."""
    if not jwks:
        return None
    return FetchedKeys(jwks) if "://" in jwks else FileKeys(Path(jwks))
