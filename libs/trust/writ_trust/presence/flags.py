"""The flags signed along by an authenticator (CTAP2 §6.1, WebAuthn §6.1): a person touched it, a person was verified.

The only reader of these bits, so a cleared flag means the same for a security key of SSH and for a passkey.
"""

from writ_contracts.errors import Untrusted
from writ_contracts.people.credentials import Proof

PRESENT = 0x01
VERIFIED = 0x04


def proof_of(flags: int) -> Proof:
    """Return the presence stated by the flags. Raises Untrusted where nobody touched the device."""
    if not flags & PRESENT:
        raise Untrusted("nobody touched the security key: its user-presence flag is not set")
    return "verified" if flags & VERIFIED else "touch"
