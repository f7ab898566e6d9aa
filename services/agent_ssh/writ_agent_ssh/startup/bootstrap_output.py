"""The output before the frames: noise of a shell, then one line with our nonce.

Pure: bytes in, the line out.
"""

import re
from typing import Literal, NamedTuple

MOST_NOISE = 64 * 1024
MOST_SHOWN = 100
Word = Literal["HERE", "SEND", "OLD", "UNUSABLE"]


class BootstrapLine(NamedTuple):
    """The line of the bootstrap, and the bytes behind it."""

    word: Word
    why: str
    rest: bytes


class TooMuchNoise(Exception):
    """More output than any shell's greeting, without our line."""


class BootstrapOutput:
    """Finds the line of one bootstrap in the output."""

    def __init__(self, nonce: str) -> None:
        self._line = re.compile(rb"\nWRIT-(HERE|SEND|OLD|UNUSABLE) " + re.escape(nonce.encode()) + rb" ([^\n]*)\n")
        self._buffer = bytearray()

    @property
    def noise(self) -> str:
        """Return the begin of what came instead of the line, in printable characters."""
        text = self._buffer[:MOST_SHOWN].decode("utf-8", "replace")
        return " ".join("".join(char if char.isprintable() else " " for char in text).split())

    def feed(self, data: bytes) -> BootstrapLine | None:
        """Return the line once it is complete. Raises TooMuchNoise."""
        self._buffer += data
        if found := self._line.search(self._buffer):
            word, why = found[1].decode(), found[2].decode(errors="replace")[:200]
            return BootstrapLine(word, why, bytes(self._buffer[found.end() :]))  # type: ignore[arg-type]
        if len(self._buffer) > MOST_NOISE:
            raise TooMuchNoise(f"more than {MOST_NOISE} bytes before the first line of the protocol")
        return None
