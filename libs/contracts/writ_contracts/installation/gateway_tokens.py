"""Bearer tokens of the MCP gateway as their file has them: a digest, never the token.

A token is 256 random bits, so a plain SHA-256 of it cannot be guessed. It stands for one principal, as long as that
has the key that it had when the token was made: one of the same name that is added later has another key.
"""

from typing import Annotated

from msgspec import Meta, Struct, field

from writ_contracts.ids import Digest, PrincipalId, PublicKey
from writ_contracts.inventory import Principal

Glob = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_*?-]{1,64}(?!\n)$", description="a name with * and ?")]
TokenId = Annotated[str, Meta(pattern=r"^[a-z2-7]{8}(?!\n)$", description="names a token; no secret")]


class GatewayToken(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One token. Times are Unix seconds. `operations` and `targets` are globs: a request outside of them is refused.

    `rate`: MCP requests a minute, of all clients with the token together. `key`: the principal's public key; only
    tokens of earlier releases have none, until a command binds them.
    """

    id: TokenId
    principal: PrincipalId
    digest: Digest
    created: float
    expires: float
    note: Annotated[str, Meta(max_length=200)] = ""
    operations: Annotated[list[Glob], Meta(max_length=100)] = field(default_factory=lambda: ["*"])
    targets: Annotated[list[Glob], Meta(max_length=100)] = field(default_factory=lambda: ["*"])
    rate: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    key: PublicKey | None = None

    def counts_for(self, principal: Principal | None) -> bool:
        """Return whether the token is this principal's, and not that of an earlier one of its name."""
        return principal is not None and principal.id == self.principal and self.key in (None, principal.key)


class GatewayTokens(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file `gateway-tokens.json`."""

    tokens: list[GatewayToken] = field(default_factory=list)
