"""The file of the MCP gateway's bearer tokens: made, listed and revoked by the owner of the folder."""

import secrets
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import msgspec
from msgspec import structs

from writ_contracts.errors import ConfigError, Invalid
from writ_contracts.ids import encode_id
from writ_contracts.installation.gateway_tokens import GatewayToken, GatewayTokens
from writ_contracts.inventory import Principal
from writ_documents.atomic_files import save

PREFIX = "writ_"
"""So that scanners for leaked secrets know one."""


def read_tokens(path: Path) -> list[GatewayToken]:
    """Return the tokens; none if there is no file. Raises ConfigError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=GatewayTokens).tokens
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}") from error


def create_token(
    path: Path,
    principal: Principal,
    *,
    now: float,
    lifetime: float,
    note: str,
    operations: Sequence[str] = (),
    targets: Sequence[str] = (),
    rate: int | None = None,
) -> tuple[str, GatewayToken]:
    """Make a token and its entry; no operations or targets are all. The token itself is nowhere afterwards."""
    token = PREFIX + secrets.token_urlsafe(32)
    entry = GatewayToken(
        id=encode_id(secrets.token_bytes(16))[:8],
        principal=principal.id,
        key=principal.key,
        digest=sha256(token.encode()).hexdigest(),
        created=now,
        expires=now + lifetime,
        note=note,
        operations=list(operations) or ["*"],
        targets=list(targets) or ["*"],
        rate=rate,
    )
    _write(path, [*read_tokens(path), entry])
    return token, entry


def revoke_token(path: Path, token_id: str) -> GatewayToken:
    """Remove a token; it ends with the next request. Raises Invalid (`not_found`)."""
    tokens = read_tokens(path)
    for token in tokens:
        if token.id == token_id:
            _write(path, [one for one in tokens if one is not token])
            return token
    raise Invalid(f"there is no token {token_id[:40]!r}: `writ token list` shows them", code="not_found")


def bind_tokens(path: Path, principals: Mapping[str, Principal]) -> None:
    """Bind tokens of earlier releases, which name no key, to the present principals; remove those of nobody."""
    tokens = _usable_tokens(path)
    known = {name: one.key for name, one in principals.items()}
    bound = [
        structs.replace(one, key=one.key or known[one.principal]) for one in tokens if one.key or one.principal in known
    ]
    if bound != tokens:
        _write(path, bound)


def end_tokens(path: Path, principals: Mapping[str, Principal], name: str) -> list[GatewayToken]:
    """Remove the tokens made for a principal that is no more, or had another key; return them."""
    tokens = _usable_tokens(path)
    ended = [one for one in tokens if one.principal == name and not one.counts_for(principals.get(name))]
    if ended:
        _write(path, [one for one in tokens if one not in ended])
    return ended


def _usable_tokens(path: Path) -> list[GatewayToken]:
    """Return the tokens; none of a damaged file. None of them counts then, as the gateway's check `tokens` says, and a
    principal must still be removable.
    """
    try:
        return read_tokens(path)
    except ConfigError:
        return []


def _write(path: Path, tokens: list[GatewayToken]) -> None:
    save(path, msgspec.json.format(msgspec.json.encode(GatewayTokens(tokens=tokens)), indent=2))
