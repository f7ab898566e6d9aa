r"""Quoting: from an argument vector to the one string that sshd passes to a login shell. No other place does this.

Within single quotes sh, bash, dash, zsh and csh take everything literally, and fish all but the backslash; outside of
them `\'` and `\\` mean the same to all. So those two characters stand outside, and everything else inside.
"""

import re
from collections.abc import Sequence

from writ_contracts.errors import Invalid

MOST_BYTES = 100_000
"""Bytes of the whole line: Linux limits an argument to 128 KiB, and the line is one to the shell."""
_PIECES = re.compile(r"[^'\\]+|['\\]")


def line(vector: Sequence[str]) -> str:
    """Return the string that makes a login shell run exactly this. Raises Invalid (`unquotable`) for text that a
    shell may not take literally (control characters, line breaks, surrogates), and for text that is too long.
    """
    quoted = " ".join(_quoted(word) for word in vector)
    if len(quoted.encode()) > MOST_BYTES:
        raise Invalid(f"a command of more than {MOST_BYTES} bytes", code="unquotable")
    return quoted


def _quoted(word: str) -> str:
    if not word.isprintable():
        raise Invalid("an argument has characters that a shell might interpret", code="unquotable")
    pieces = (piece if piece.strip("'\\") else f"\\{piece}" for piece in _PIECES.findall(word))
    return "".join(piece if piece[0] == "\\" else f"'{piece}'" for piece in pieces) or "''"
