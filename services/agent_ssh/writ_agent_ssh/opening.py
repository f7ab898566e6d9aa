"""What comes out of the constant command before the frames do: noise of a shell, then one line with our nonce.

Pure: bytes in, what to do next out.
"""

import re
from typing import Literal, NamedTuple

MOST_NOISE = 64 * 1024
Word = Literal["HERE", "SEND", "OLD", "UNUSABLE"]


class Said(NamedTuple):
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
        self._seen = bytearray()

    def feed(self, data: bytes) -> Said | None:
        """The line, once it is there. Raises TooMuchNoise."""
        self._seen += data
        if found := self._line.search(self._seen):
            return Said(found[1].decode(), found[2].decode(errors="replace")[:200], bytes(self._seen[found.end() :]))  # type: ignore[arg-type]
        if len(self._seen) > MOST_NOISE:
            raise TooMuchNoise(f"more than {MOST_NOISE} bytes before the first word of ours")
        return None
