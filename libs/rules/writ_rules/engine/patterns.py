"""Regular expressions that match whole strings, in time linear in their length (RE2). The only importer of re2.

The pattern is compiled as bytes: re2 for Python spends most of a match on translating offsets that nobody asks for.
`RE2::Set` would be twice as fast, but gives "no match" when its automaton outgrows its memory, which would let a deny
rule pass.
"""

from functools import lru_cache

import re2


class Pattern:
    """A compiled pattern."""

    __slots__ = ("_match", "text")

    def __init__(self, text: str, *, dot_takes_newline: bool) -> None:
        """Raises ValueError where RE2 can't: it has no look-around and no references back."""
        options = re2.Options()
        options.never_capture = True
        options.log_errors = False
        options.dot_nl = dot_takes_newline
        try:
            self._match = re2.compile(text.encode(), options).fullmatch
        except re2.error as error:
            message = error.args[0] if error.args else ""
            raise ValueError(message.decode() if isinstance(message, bytes) else str(message)) from error
        self.text = text

    def covers(self, value: str) -> bool:
        """Whether it matches the whole of `value`; raises UnicodeEncodeError for what is no text."""
        return self._match(value.encode()) is not None


@lru_cache(maxsize=20_000)
def pattern(text: str, *, deny: bool) -> Pattern:
    """The pattern of a rule; raises ValueError. In a deny rule `.` takes a newline too, which else would slip by it."""
    return Pattern(text, dot_takes_newline=deny)


def glob(text: str) -> Pattern:
    """`*` and `?` as in file names; everything else stands for itself."""
    escaped = re2.escape(text).replace(r"\*", ".*").replace(r"\?", ".")
    return Pattern(escaped, dot_takes_newline=True)
