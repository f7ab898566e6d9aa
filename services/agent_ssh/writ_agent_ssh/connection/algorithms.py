"""The SSH algorithms of this agent: modern ones, in the order of preference. An inventory may narrow them.

asyncssh's own defaults still include SHA-1 (hmac-sha1, diffie-hellman-group14-sha1), so every list is always passed
explicitly.
"""

from collections.abc import Sequence

from writ_contracts.errors import Invalid

KEX = (
    "mlkem768x25519-sha256",
    "sntrup761x25519-sha512",
    "sntrup761x25519-sha512@openssh.com",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
)
CIPHERS = ("aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com")
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com")
HOST_KEYS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512")
HOST_CERTIFICATES = tuple(f"{name}-cert-v01@openssh.com" for name in HOST_KEYS)


def narrowed(what: str, ours: Sequence[str], expected: Sequence[str] | None, here: Sequence[str]) -> list[str]:
    """Return our algorithms, or those among them that the inventory permits and this host has (`here`). Raises
    Invalid.
    """
    if expected is not None and (wider := sorted(set(expected) - set(ours))):
        raise Invalid(
            f"connection.{what} can only restrict the defaults, which lack {', '.join(wider)}",
            code="invalid_connection",
        )
    chosen = [name for name in ours if (expected is None or name in expected) and name in here]
    if not chosen:
        raise Invalid(f"connection.{what} allows no algorithm", code="invalid_connection")
    return chosen
