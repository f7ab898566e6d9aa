"""Regular expressions for whole strings, in time linear in their length (RE2). The only importer of re2.

The pattern is compiled as bytes: re2 for Python spends most of a match on translating unused offsets.
`RE2::Set` would be twice as fast, but reports "no match" when its automaton outgrows its memory, which would let a deny
rule pass.
"""

import re2

MOST_KEPT = 10_000_000
"""Size of the compiled patterns that are kept: 10 to 20 bytes each."""
OVERHEAD = 100


class PatternTooLargeError(ValueError):
    """Raised for a pattern whose program RE2 refuses. It has taken as long as the largest one that it accepts."""


class Pattern:
    """A compiled pattern. `size`: the instructions of its program, and `OVERHEAD`."""

    __slots__ = ("_match", "size", "text")

    def __init__(self, text: str, *, dot_takes_newline: bool) -> None:
        """Raises ValueError for syntax missing in RE2: look-around and back references."""
        options = re2.Options()
        options.never_capture = True
        options.log_errors = False
        options.dot_nl = dot_takes_newline
        try:
            compiled = re2.compile(text.encode(), options)
        except re2.error as error:
            message = error.args[0] if error.args else ""
            reason = message.decode() if isinstance(message, bytes) else str(message)
            kind = PatternTooLargeError if "too large" in reason else ValueError
            raise kind(f"not a regular expression (RE2): {reason}") from error
        self._match = compiled.fullmatch
        self.size: int = compiled.programsize + OVERHEAD
        self.text = text

    def covers(self, value: str) -> bool:
        """Return whether it matches the whole of `value`; raises UnicodeEncodeError for text UTF-8 cannot carry."""
        return self._match(value.encode()) is not None


class KeptPatterns:
    """Compiled patterns up to `MOST_KEPT`; beyond it all are dropped. To compile a large one takes 0.3 s."""

    def __init__(self) -> None:
        self._patterns: dict[tuple[str, bool], Pattern] = {}
        self._size = 0

    def find(self, text: str, *, deny: bool) -> Pattern:
        """Return the pattern. Raises ValueError."""
        known = self._patterns.get((text, deny))
        if known is None:
            known = Pattern(text, dot_takes_newline=deny)
            if self._size + known.size > MOST_KEPT:
                self._patterns.clear()
                self._size = 0
            self._patterns[text, deny] = known
            self._size += known.size
        return known


_kept = KeptPatterns()


def pattern(text: str, *, deny: bool) -> Pattern:
    """Return the pattern of a rule; raises ValueError. In a deny rule `.` covers a newline too, which would otherwise
    evade it.
    """
    return _kept.find(text, deny=deny)


def glob(text: str) -> Pattern:
    """Return a pattern with `*` and `?` as in file names; all other characters are literal."""
    escaped = re2.escape(text).replace(r"\*", ".*").replace(r"\?", ".")
    return _kept.find(escaped, deny=True)
