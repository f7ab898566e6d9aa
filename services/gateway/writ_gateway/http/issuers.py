"""An OAuth 2.1 authorization server whose access tokens count here, and the claims of its tokens. Pure."""

from collections.abc import Collection
from typing import Any

from msgspec import Struct

from writ_gateway.http.introspection import IntrospectionEndpoint

SCOPE = "writ"


class Issuer(Struct, frozen=True, kw_only=True):
    """Whose tokens count here. `jwks`: a file or an https address; `claim`: where the principal stands.

    With `introspector` alone tokens may be opaque. With both, a JWT has to verify and to be active.
    """

    issuer: str
    audience: str
    claim: str
    principals: Collection[str]
    jwks: str = ""
    introspector: IntrospectionEndpoint | None = None


def has_scope(claims: dict[str, Any]) -> bool:
    """Return whether the token is meant for Writ. `scope` (RFC 8693) is a text, or a list as some servers write it."""
    scope = claims.get("scope", "")
    return SCOPE in (scope.split() if isinstance(scope, str) else scope if isinstance(scope, list) else ())


def session_of(claims: dict[str, Any]) -> str:
    """Return the session by which the authorization server knows it, else the token's own id, else the client's."""
    named = (claims.get(name) for name in ("sid", "jti", "sub"))
    return next((one for one in named if isinstance(one, str) and one), "")


def metadata(issuer: Issuer) -> dict[str, Any]:
    """Return the protected resource metadata (RFC 9728)."""
    return {
        "resource": issuer.audience,
        "authorization_servers": [issuer.issuer],
        "scopes_supported": [SCOPE],
        "bearer_methods_supported": ["header"],
    }
