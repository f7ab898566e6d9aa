"""The envelope of everything that is signed: exact payload bytes, the key, the signature.

`payload` is the canonical JSON (sorted keys, no white space: RFC 8785 for the values that Writ uses) of a tagged
struct. It is verified as received and never re-serialised; the tag stops one kind being passed off as another.
"""

from msgspec import Raw, Struct, structs

from writ_contracts.ids import PublicKey


class Signed(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody's signed words. `writ_trust` makes and checks them; nothing else may look inside `payload`."""

    payload: Raw
    key: PublicKey
    signature: str
    """Ed25519 over the payload's bytes, base64url without padding (86 characters)."""

    def detached(self) -> "Signed":
        """The same, without the message that it came in: of that a payload is a view, and keeps all of it."""
        return structs.replace(self, payload=self.payload.copy())
