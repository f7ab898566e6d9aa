r"""Grammar of every identifier, and the derivation of operation ids.

Each identifier in a subject matches a pattern without dots, wildcards or white space, to the end of the
string: `(?!\n)$`, since a bare `$` lets a trailing newline through.
"""

import base64
import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from msgspec import Meta

_END = r"(?!\n)$"
TOKEN_PATTERN = r"^[A-Za-z0-9_-]{1,64}" + _END

PrincipalId = Annotated[str, Meta(pattern=TOKEN_PATTERN, description="the principal that requests")]
TargetId = Annotated[str, Meta(pattern=TOKEN_PATTERN, description="a target of the inventory")]
PoolId = Annotated[str, Meta(pattern=TOKEN_PATTERN, description="the agents that serve a target")]
InstanceId = Annotated[str, Meta(pattern=TOKEN_PATTERN, description="one running agent process")]
OperationName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}" + _END, description="a verb of the catalogue")]
WHOLE_ID = 26
"""Characters of a whole operation id."""
PREFIX_PATTERN = r"^[a-z2-7]{1,26}" + _END
OperationPrefix = Annotated[str, Meta(pattern=PREFIX_PATTERN, description="the beginning of an operation id")]
OperationId = Annotated[str, Meta(pattern=r"^[a-z2-7]{26}" + _END, description="one operation; 128 bits, base32")]
CorrelationId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:-]{1,128}" + _END, description="groups operations")]
IdempotencyKey = Annotated[str, Meta(pattern=r"^[\x21-\x7e]{1,128}" + _END, description="same key, same operation")]
InstallationId = Annotated[str, Meta(pattern=r"^[a-z2-7]{26}" + _END, description="one installation; 128 bits, base32")]
PublicKey = Annotated[str, Meta(pattern=r"^U[A-Z2-7]{55}" + _END, description="an Ed25519 key as an nkey of a user")]
Hex32 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}" + _END, description="32 bytes in hexadecimal")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}" + _END, description="SHA-256 or HMAC-SHA-256 in hexadecimal")]

LINE_PATTERN = r"^[^\x00\n]*" + _END
PATH_PATTERN = r"^/[^\x00\n]*" + _END

GRAMMAR: Mapping[str, str] = MappingProxyType(
    {
        TOKEN_PATTERN: "1 to 64 letters, digits, - and _",
        r"^[a-z][a-z0-9_]{0,63}" + _END: "the name of an operation, in small letters, digits and _",
        r"^[a-z2-7]{26}" + _END: "an id of 26 small letters and digits",
        r"^[A-Za-z0-9_.:-]{1,128}" + _END: "1 to 128 letters, digits, ., :, - and _",
        r"^[\x21-\x7e]{1,128}" + _END: "1 to 128 printable ASCII characters, without spaces",
        r"^U[A-Z2-7]{55}" + _END: "a public key (U…)",
        r"^[0-9a-f]{64}" + _END: "64 hexadecimal digits",
        LINE_PATTERN: "one line of text",
        PATH_PATTERN: "a path that begins with /",
        r"^[^\x00]*\S" + _END: "a text, not empty, without white space at its end",
        r"^/": "a path that begins with /",
    }
)
"""The patterns in words, for error messages."""

WRIT_TARGET = "writ"
"""The id of the target that control operations act on; its role is `gateway`."""


def in_words(error: str) -> str:
    """Return msgspec's message about a mismatch, in plain words."""
    for pattern, words in GRAMMAR.items():
        error = error.replace(f"`str` matching regex {pattern!r}", words)
    return error


def operation_id(principal: str, idempotency_key: str) -> str:
    """Return the operation id of this principal and idempotency key: the same pair always gives the same id."""
    digest = hashlib.sha256(f"writ.operation\0{principal}\0{idempotency_key}".encode()).digest()
    return encode_id(digest[:16])


def encode_id(raw: bytes) -> str:
    """Return sixteen bytes as 26 lower-case base32 characters (RFC 4648, no padding)."""
    return base64.b32encode(raw).decode().rstrip("=").lower()
