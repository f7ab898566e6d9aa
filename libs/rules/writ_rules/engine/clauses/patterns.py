"""Regular expressions for whole strings, in time linear in their length (RE2). The only importer of re2.

The pattern is compiled as bytes: re2 for Python spends most of a match on translating unused offsets.
`RE2::Set` would be twice as fast, but reports "no match" when its automaton outgrows its memory, which would let a deny
rule pass.
"""

from functools import lru_cache

import re2


class Pattern:
    __slots__ = ("_match", "text")

    def __init__(self, text: str, *, dot_takes_newline: bool) -> None:
        """Raises ValueError for syntax missing in RE2: look-around and back references."""
        options = re2.Options()
        options.never_capture = True
        options.log_errors = False
        options.dot_nl = dot_takes_newline
        try:
            self._match = re2.compile(text.encode(), options).fullmatch
        except re2.error as error:
            message = error.args[0] if error.args else ""
            reason = message.decode() if isinstance(message, bytes) else str(message)
            raise ValueError(f"not a regular expression (RE2): {reason}") from error
        self.text = text

    def covers(self, value: str) -> bool:
        """Return whether it matches the whole of `value`; raises UnicodeEncodeError for text UTF-8 cannot carry."""
        return self._match(value.encode()) is not None


@lru_cache(maxsize=20_000)
def pattern(text: str, *, deny: bool) -> Pattern:
    """Return the pattern of a rule; raises ValueError. In a deny rule `.` covers a newline too, which would otherwise
    evade it.
    """
    return Pattern(text, dot_takes_newline=deny)


def glob(text: str) -> Pattern:
    """Return a pattern with `*` and `?` as in file names; all other characters are literal."""
    escaped = re2.escape(text).replace(r"\*", ".*").replace(r"\?", ".")
    return Pattern(escaped, dot_takes_newline=True)
