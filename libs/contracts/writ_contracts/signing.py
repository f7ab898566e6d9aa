"""The envelope of every signed statement: exact payload bytes, the key, the signature.

`payload` is the canonical JSON (sorted keys, no white space: RFC 8785 for the values used by Writ) of a tagged
struct. It is verified as received and never re-serialised; the tag prevents one kind from passing for another.
"""

from typing import Annotated

from msgspec import Meta, Raw, Struct, structs

from writ_contracts.bounds import Signature
from writ_contracts.ids import PublicKey


class Statement(Struct, frozen=True, kw_only=True):
    """Base of all signed statements. It names its installation: a copy of an installation has the same keys, and must
    not accept the original's statements.
    """

    installation: Annotated[str, Meta(max_length=26)] = ""
    """Its id (`writ_contracts.ids.InstallationId`), set at the signature; empty in records older than these ids.
    """


class Signed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signed statement. `writ_trust` makes and checks them; nothing else may read `payload`."""

    payload: Raw
    key: PublicKey
    signature: Signature
    """Ed25519 over the payload's bytes, base64url without padding (86 characters)."""

    def detached(self) -> "Signed":
        """Return a copy without the received message: its payload is a view, which keeps the whole message in
        memory.
        """
        return structs.replace(self, payload=self.payload.copy())
