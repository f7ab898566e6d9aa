"""Literal prefixes and suffixes of a pattern, read from its text. Only certain ones are returned, for an index."""

import re
from collections.abc import Iterator

from msgspec import Struct

SPECIAL = frozenset(".^$*+?{}[]()|\\")
MAYBE = frozenset("*?{")
LONGEST = 64
"""Characters of a prefix that are used; more distinguish no more rules."""


_UNIT = re.compile(
    r"(?:\\(?P<escaped>[^\w\s]|_)|(?P<class>\[[^\[\]\\]+\])|(?P<any>\.)|(?P<literal>[^\\\[\](){}.*+?|^$]))"
    r"(?P<repeated>[*+?]|\{[0-9,]+\})?"
)
"""One character of a pattern, or a simple class, with its quantifier."""


class Beginning(Struct, frozen=True):
    """A prefix of each matching text, or with `end` a suffix; `whole`: the whole text."""

    text: str
    whole: bool = False
    end: bool = False


def literals(pattern: str) -> tuple[Beginning, ...] | None:
    """Return a prefix for each alternative, else a suffix of the whole pattern; None where neither is known."""
    found = beginnings(pattern)
    if found is not None:
        return found
    suffix = ending(pattern)
    return (Beginning(suffix, end=True),) if suffix else None


def ending(pattern: str) -> str:
    """Return a suffix of each matching text, empty where none is known: only of simple parts one after the other."""
    at, suffix, pattern = 0, "", pattern.removeprefix("^")
    while at < len(pattern):
        unit = _UNIT.match(pattern, at)
        if unit is None:
            return suffix if pattern[at:] == "$" else ""
        at = unit.end()
        literal = unit["escaped"] or unit["literal"]
        suffix = suffix + literal if literal and not unit["repeated"] else ""
    return suffix


def beginnings(pattern: str) -> tuple[Beginning, ...] | None:
    """Return a prefix for each alternative; None where a matching text may begin in any way, as far as is known
    here.
    """
    if "(?" in pattern or "\\Q" in pattern:
        return None  # flags change what the characters after them stand for
    alternatives = _alternatives(pattern)
    if alternatives is None:
        return None
    prefixes = tuple(_beginning(each) for each in alternatives)
    return prefixes if all(one.text or one.whole for one in prefixes) else None


class Edges(Struct, frozen=True):
    """Texts of which each matching text begins with one, and the end of each. To compare them costs a fiftieth of a
    match.
    """

    starts: tuple[str, ...]
    end: str

    def fit(self, text: str) -> bool:
        """Return false for a text that certainly doesn't match."""
        return text.startswith(self.starts) and text.endswith(self.end)


def edges(pattern: str) -> Edges:
    """Return the edges of a pattern; empty texts where none are known."""
    known = beginnings(pattern)
    return Edges(("",) if known is None else tuple(one.text for one in known), ending(pattern))


def _alternatives(pattern: str) -> list[str] | None:
    """Split the pattern at its outer bars; None where only a real parser could."""
    if "|" not in pattern:
        return [pattern]
    if "[" in pattern or "\\" in pattern:
        return None
    depth, parts = 0, [""]
    for character in pattern:
        depth += (character == "(") - (character == ")")
        if character == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _beginning(pattern: str) -> Beginning:
    text, rest = "", list(_units(pattern.removeprefix("^")))
    for at, (literal, follows) in enumerate(rest):
        if literal is None:
            return Beginning(text, whole=follows == "$" and at == len(rest) - 1)
        if follows in MAYBE:
            return Beginning(text)
        text += literal
        if follows == "+" or len(text) >= LONGEST:
            return Beginning(text)
    return Beginning(text, whole=True)


def _units(pattern: str) -> Iterator[tuple[str | None, str]]:
    """Yield each leading literal character with the one after it, perhaps a quantifier, and None at any other part."""
    at = 0
    while at < len(pattern):
        character, length = pattern[at], 1
        if character == "\\" and at + 1 < len(pattern) and not pattern[at + 1].isalnum() and pattern[at + 1].isascii():
            character, length = pattern[at + 1], 2
        elif character in SPECIAL:
            yield None, pattern[at:]
            return
        at += length
        yield character, pattern[at : at + 1]
