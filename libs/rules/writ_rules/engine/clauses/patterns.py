"""Regular expressions for whole strings, in time linear in their length (RE2). The only importer of re2.

The pattern is compiled as bytes: re2 for Python spends most of a match on translating unused offsets.
`RE2::Set` would be twice as fast, but reports "no match" when its automaton outgrows its memory, which would let a deny
rule pass.
"""

from collections.abc import Callable

import re2
from msgspec import Struct

MOST_KEPT = 10_000_000
"""Size of the compiled patterns that are kept: 10 to 20 bytes each."""
OVERHEAD = 100
LARGE = 300
"""Size from which a checked pattern is compiled before its first use, which would take more than 0.1 ms."""
MOST_LATER = 1_500_000
"""Size of the checked patterns of one policy that are compiled on their first use: one decision may reach them all."""


class PatternTooLargeError(ValueError):
    """Raised for a pattern whose program RE2 refuses. It has taken as long as the largest one that it accepts."""


class CheckedPattern(Struct, frozen=True):
    """A pattern that another process has compiled. `deny`: of a deny rule, or a glob with `?`."""

    text: str
    deny: bool
    size: int


class Pattern:
    """A compiled pattern. `size`: the instructions of its program, and `OVERHEAD`."""

    __slots__ = ("_match", "deny", "size", "text")

    def __init__(self, text: str, *, dot_takes_newline: bool, size: int = 0) -> None:
        """Raises ValueError for syntax missing in RE2: look-around and back references. With its `size` known it is
        compiled on its first use: 10,000 small programs take 20 MB, and most are of rules that no request reaches.
        """
        self.text = text
        self.deny = dot_takes_newline
        self.size = size
        self._match: Callable[[bytes], object] | None = None if size else self._compile()

    def covers(self, value: str) -> bool:
        """Return whether it matches the whole of `value`; raises UnicodeEncodeError for text UTF-8 cannot carry."""
        match = self._match or self._compile()
        return match(value.encode()) is not None

    def _compile(self) -> Callable[[bytes], object]:
        options = re2.Options()
        options.never_capture = True
        options.log_errors = False
        options.dot_nl = self.deny
        try:
            compiled = re2.compile(self.text.encode(), options)
        except re2.error as error:
            message = error.args[0] if error.args else ""
            reason = message.decode() if isinstance(message, bytes) else str(message)
            kind = PatternTooLargeError if "too large" in reason else ValueError
            raise kind(f"not a regular expression (RE2): {reason}") from error
        self.size = compiled.programsize + OVERHEAD
        match: Callable[[bytes], object] = compiled.fullmatch
        self._match = match
        return match


class KeptPatterns:
    """Compiled patterns up to `MOST_KEPT`; beyond it all are dropped. To compile a large one takes 0.3 s."""

    def __init__(self) -> None:
        self._patterns: dict[tuple[str, bool], Pattern] = {}
        self._size = 0

    def find(self, text: str, *, deny: bool) -> Pattern:
        """Return the pattern. Raises ValueError."""
        known = self._patterns.get((text, deny))
        if known is None:
            known = self._keep(Pattern(text, dot_takes_newline=deny))
        return known

    def add(self, checked: CheckedPattern, *, is_large: bool) -> bool:
        """Keep a pattern that another process compiled; a large one is compiled here, too. Return whether it was."""
        if (checked.text, checked.deny) in self._patterns:
            return False
        size = 0 if is_large else checked.size
        self._keep(Pattern(checked.text, dot_takes_newline=checked.deny, size=size))
        return is_large

    def _keep(self, pattern: Pattern) -> Pattern:
        if self._size + pattern.size > MOST_KEPT:
            self.clear()
        self._patterns[pattern.text, pattern.deny] = pattern
        self._size += pattern.size
        return pattern

    def drop_small(self) -> None:
        """Keep only those that take long to compile: the others stay with the policies that have them."""
        known = list(self._patterns.items())  # at once: another thread may compile a policy
        self._patterns = {key: one for key, one in known if one.size >= LARGE}
        self._size = sum(one.size for one in self._patterns.values())

    def clear(self) -> None:
        """Keep none, so that `checked` returns only those of the next policy."""
        self._patterns, self._size = {}, 0

    def checked(self) -> list[CheckedPattern]:
        """Return all, for another process."""
        return [CheckedPattern(one.text, one.deny, one.size) for one in self._patterns.values()]


KEPT = KeptPatterns()
"""The patterns of this process."""


def pattern(text: str, *, deny: bool) -> Pattern:
    """Return the pattern of a rule; raises ValueError. In a deny rule `.` covers a newline too, which would otherwise
    evade it.
    """
    return KEPT.find(text, deny=deny)


class Glob(Struct, frozen=True, gc=False):
    """A pattern with `*` as in file names. RE2 would need 2 KB for it."""

    glob: str

    @property
    def text(self) -> str:
        """Return it as a regular expression."""
        return _regular(self.glob)

    def covers(self, value: str) -> bool:
        """Return whether it matches the whole of `value`."""
        first, *others = self.glob.split("*")
        if not others:
            return value == first
        last, at = others.pop(), len(first)
        end = len(value) - len(last)
        if at > end or not value.startswith(first) or not value.endswith(last):
            return False
        for part in others:  # the first place of each is the best one for those after it
            at = value.find(part, at, end)
            if at < 0:
                return False
            at += len(part)
        return True


def glob(text: str) -> Glob | Pattern:
    """Return a pattern with `*` and `?` as in file names; all other characters are literal."""
    return KEPT.find(_regular(text), deny=True) if "?" in text else Glob(text)


def _regular(text: str) -> str:
    escaped: str = re2.escape(text)
    return escaped.replace(r"\*", ".*").replace(r"\?", ".")
