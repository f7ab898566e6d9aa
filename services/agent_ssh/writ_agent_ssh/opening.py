"""What comes out of the constant command before the frames do: noise of a shell, then one line with our nonce.

Pure: bytes in, what to do next out.
"""

import re
from typing import Literal, NamedTuple

MOST_NOISE = 64 * 1024
Word = Literal["HERE", "SEND", "OLD", "UNUSABLE"]


class BootstrapLine(NamedTuple):
    """The line of the bootstrap, and what came after it."""

    word: Word
    why: str
    rest: bytes


class TooMuchNoise(Exception):
    """More than any shell's greeting, and still nothing of ours."""


class Opening:
    """Looks for the line of one bootstrap."""

    def __init__(self, nonce: str) -> None:
        self._line = re.compile(rb"\nWRIT-(HERE|SEND|OLD|UNUSABLE) " + re.escape(nonce.encode()) + rb" ([^\n]*)\n")
        self._buffer = bytearray()

    def feed(self, data: bytes) -> BootstrapLine | None:
        """The line, once it is there. Raises TooMuchNoise."""
        self._buffer += data
        if found := self._line.search(self._buffer):
            word, why = found[1].decode(), found[2].decode(errors="replace")[:200]
            return BootstrapLine(word, why, bytes(self._buffer[found.end() :]))  # type: ignore[arg-type]
        if len(self._buffer) > MOST_NOISE:
            raise TooMuchNoise(f"more than {MOST_NOISE} bytes before the first word of ours")
        return None
