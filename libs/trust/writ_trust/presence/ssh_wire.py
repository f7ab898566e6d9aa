"""The binary encoding of SSH (RFC 4251, §5): strings with a length before them, numbers, and nothing behind the end."""

from writ_contracts.errors import Untrusted

MOST_NUMBER = 33
"""Bytes of an mpint that holds 256 bits: one more for the sign."""


class Reader:
    """Reads fields one after the other; each raises Untrusted where the bytes end too early."""

    def __init__(self, data: bytes, name: str) -> None:
        self._rest = data
        self._name = name

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        if len(self._rest) < count:
            raise Untrusted(f"{self._name} ends too early")
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def uint32(self) -> int:
        """Return the next number."""
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        """Return the next string."""
        return self.take(self.uint32())

    def number(self) -> int:
        """Return the next positive mpint of at most 256 bits, in its only form: no zero byte too many."""
        raw = self.string()
        value = int.from_bytes(raw, "big")
        if value == 0 or len(raw) > MOST_NUMBER or raw != value.to_bytes(value.bit_length() // 8 + 1, "big"):
            raise Untrusted(f"{self._name} has a number that is not positive, too long or not in its shortest form")
        return value

    def end(self) -> None:
        """Raise Untrusted where something is left."""
        if self._rest:
            raise Untrusted(f"{self._name} has {len(self._rest)} bytes too many")


def string(data: bytes) -> bytes:
    """Return the string's encoding."""
    return len(data).to_bytes(4, "big") + data
