"""Long texts as the bytes in which they travel, so that a file's content is neither decoded nor copied on its way.

Only the supervised processes use them. `run` of operations.py returns ordinary texts to all others.
"""

from __future__ import annotations

import hashlib
from typing import Any, Dict, Union

Buffer = Union[bytes, bytearray, memoryview]


class EncodedText:
    """A text as valid UTF-8. Its buffer must not change any more. `digest`: its SHA-256 in hex."""

    __slots__ = ("_digest", "data")

    def __init__(self, data: Buffer, digest: str = "") -> None:
        """`digest`: "" to compute it when it is needed."""
        self.data = data
        self._digest = digest

    @classmethod
    def checked(cls, data: Buffer, digest: str) -> EncodedText:
        """Return the text in these bytes. Raises UnicodeDecodeError."""
        is_plain = not isinstance(data, memoryview) and data.isascii()  # 20 times as fast as to decode them
        if not is_plain:
            str(data, "utf-8")
        return cls(data, digest)

    @property
    def digest(self) -> str:
        """Return its SHA-256 in hex."""
        return self._digest or hashlib.sha256(self.data).hexdigest()

    def __str__(self) -> str:
        return str(self.data, "utf-8")


class TextDigest:
    """The SHA-256 of a text of the same output. The reader of the frame computes it, so the text leaves at once."""

    __slots__ = ("text",)

    def __init__(self, text: EncodedText) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text.digest


class ComputedDigests(Dict[str, str]):
    """SHA-256 in hex of attached texts by name, computed by the reader of a frame: no JSON makes this type."""


def decoded(result: Dict[str, Any]) -> Dict[str, Any]:
    """Return the result of a request with ordinary texts."""
    output = result["output"]
    if not any(isinstance(value, EncodedText) for value in output.values()):
        return result
    return {
        **result,
        "output": {
            name: str(value) if isinstance(value, (EncodedText, TextDigest)) else value
            for name, value in output.items()
        },
    }
