"""Signing of structs, and verification of signed ones.

The signature covers the payload's exact bytes, which are canonical when made; the struct's tag is inside them, so a
decision can never pass for a grant. So is the installation: a copy of an installation has the same keys.
"""

import base64
import binascii
import hashlib
from collections.abc import Collection
from typing import TypeVar

from msgspec import Raw, Struct, structs

from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.signing import Signed, Statement
from writ_contracts.wire import canonical, decode
from writ_trust.keys import Key, verify

T = TypeVar("T", bound=Struct)


def sign(key: Key, statement: Struct) -> Signed:
    """Return `statement` (a tagged struct) in the name of the key's installation, signed."""
    payload = canonical(named(statement, key.installation))
    return Signed(payload=Raw(payload), key=key.public, signature=_encoded(key.sign(payload)))


def named(statement: T, installation: str) -> T:
    """Return the statement in the name of this installation."""
    return structs.replace(statement, installation=installation) if isinstance(statement, Statement) else statement


def open_signed(
    signed: Signed, kind: type[T], trusted: Collection[str], installation: str | None, *, unbound: bool = False
) -> T:
    """Return the statement, if one of the `trusted` public keys signed it for this installation and it is of this
    kind. Raises Untrusted.

    `unbound`: accept a statement without an installation, in a record which may be older than installations' ids. With
    None for the installation any will do: for showing, never for deciding.
    """
    _check_key(signed, trusted)
    return open_verified(verified(signed), kind, trusted, installation, unbound=unbound)


class VerifiedSignature(Struct, frozen=True):
    """A signed statement whose signature is valid, made by `verified` alone. Whether its key counts is not checked."""

    signed: Signed


def verified(signed: Signed) -> VerifiedSignature:
    """Verify the signature by the key that the statement names. Raises Untrusted.

    It takes most of the time of `open_signed`, and needs nothing but the statement: a caller may do it while it waits
    for the keys to trust.
    """
    if not verify(signed.key, bytes(signed.payload), _signature(signed)):
        raise Untrusted(f"the signature of {signed.key} is not valid")
    return VerifiedSignature(signed)


def open_verified(
    valid: VerifiedSignature,
    kind: type[T],
    trusted: Collection[str],
    installation: str | None,
    *,
    unbound: bool = False,
) -> T:
    """Return the statement as `open_signed` does, without verifying the signature once more. Raises Untrusted."""
    _check_key(valid.signed, trusted)
    statement = read(valid.signed, kind)
    if installation is not None and isinstance(statement, Statement):
        check_installation(statement, installation, unbound=unbound)
    return statement


def _check_key(signed: Signed, trusted: Collection[str]) -> None:
    if signed.key not in trusted:
        raise Untrusted(f"signed by {signed.key}, which is not trusted for this")


def check_installation(statement: Statement, installation: str, *, unbound: bool = False) -> None:
    """Raises Untrusted (`other_installation`) for a statement for another installation, or for none."""
    if statement.installation == installation or (unbound and not statement.installation):
        return
    about = f"is for installation {statement.installation}" if statement.installation else "names no installation"
    here = f"this is {installation}" if installation else "this process has no installation id"
    remedy = "" if statement.installation else ": write its signer's `writ context` or `writ agent env` again"
    raise Untrusted(f"the signed statement {about}, and {here}{remedy}", code="other_installation")


def read(signed: Signed, kind: type[T]) -> T:
    """Return the statement without checking its signer: for showing, never for deciding. Raises Untrusted."""
    try:
        return decode(bytes(signed.payload), kind)
    except Invalid as error:
        raise Untrusted(f"the signed bytes are not a {kind.__name__.lower()}: {error}") from error


def digest(signed: Signed) -> str:
    """Return the SHA-256 of the signed bytes, in hexadecimal: the name of this link in the next one of the chain."""
    return hashlib.sha256(bytes(signed.payload)).hexdigest()


def _signature(signed: Signed) -> bytes:
    try:
        data = base64.urlsafe_b64decode(signed.signature + "=" * (-len(signed.signature) % 4))
    except (binascii.Error, ValueError) as error:
        raise Untrusted("the signature is not base64url") from error
    if _encoded(data) != signed.signature:  # the decoder skips other characters and unused bits
        raise Untrusted("the signature is not base64url in its only form")
    return data


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
