"""The content of `params.key`: the executors' shared keys, one a line in hex.

The first one encrypts and keys digests; the others were used before, the oldest last, and open and verify what was made
with them. A line `next …` holds the key to be used next, which all replicas know before one of them uses it.
"""

from msgspec import Struct

from writ_contracts.errors import Invalid
from writ_trust.digests import derive
from writ_trust.keys import public_of

SIZE = 32
NEXT = b"next "


class ParameterKeys(Struct, frozen=True, kw_only=True):
    """Keys of 32 bytes. `used`: the one in use, then former ones."""

    used: tuple[bytes, ...]
    next: bytes | None = None


def parse_keys(data: bytes) -> ParameterKeys:
    """Return the keys of a file's content. Raises Invalid, and quotes nothing."""
    lines = data.splitlines()
    following = [_key(line.removeprefix(NEXT)) for line in lines if line.startswith(NEXT)]
    used = tuple(_key(line) for line in lines if not line.startswith(NEXT))
    if not used or len(following) > 1:
        raise Invalid("must have a key of 64 hexadecimal digits on a line, and at most one line `next …`")
    return ParameterKeys(used=used, next=following[0] if following else None)


def format_keys(keys: ParameterKeys) -> bytes:
    """Return the content of the file with these keys."""
    following = [NEXT + keys.next.hex().encode()] if keys.next else []
    return b"".join(line + b"\n" for line in [*(key.hex().encode() for key in keys.used), *following])


def shared_key_id(key: bytes) -> str:
    """Return a name for the key which reveals nothing of it, in the form of a public key."""
    return public_of(bytes.fromhex(derive(key, "writ.params.id", "")))


def _key(line: bytes) -> bytes:
    try:
        key = bytes.fromhex(line.decode())
    except ValueError:
        key = b""
    if len(key) != SIZE:
        raise Invalid("a line is not 64 hexadecimal digits")
    return key
