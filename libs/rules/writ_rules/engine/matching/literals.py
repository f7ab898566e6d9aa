"""Literal prefixes, suffixes and parts of a pattern, read from its text. Only certain ones are returned: an index uses
them.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from msgspec import Struct, structs

SPECIAL = frozenset(".^$*+?{}[]()|\\")
MAYBE = frozenset("*?{")
IGNORING_CASE = "(?i)"
MOST_KEPT = 4_096
"""Patterns whose literals are kept: each is read several times while a policy is compiled or analysed."""
LONGEST = 64
"""Characters of a prefix that are used; more distinguish no more rules."""


_UNIT = re.compile(
    r"(?:\\(?P<escaped>[^\w\s]|_)|(?P<class>\[\^?[^\[\]\\^][^\[\]\\]*\])|(?P<any>\.)|(?P<literal>[^\\\[\](){}.*+?|^$]))"
    r"(?P<repeated>[*+?]|\{[0-9,]+\})?"
)
"""One character of a pattern, or a simple class, with its quantifier. A `]` first in a class stands for itself: no such
class is simple.
"""
_LEADING = re.compile(
    r"(?:\((?:\?:)?(?P<group>[^()\[\]{}.*+?\\^$]*)\)|\[(?P<class>[A-Za-z0-9_]+)\])(?P<optional>\?)?(?![*+?{])"
)
"""A group of literals, or a class of characters, at the beginning of a pattern."""
MOST_CHOICES = 16
"""Texts that a group or a class at the beginning may stand for; with more the pattern is in no index."""


class Beginning(Struct, frozen=True):
    """A prefix of each matching text, with `end` a suffix, with `inside` a part; `whole`: the whole text."""

    text: str
    whole: bool = False
    end: bool = False
    inside: bool = False


@lru_cache(maxsize=MOST_KEPT)
def literals(pattern: str) -> tuple[Beginning, ...] | None:
    """Return a prefix for each alternative, else a suffix of the whole pattern or a part of it; None where none of them
    is known.
    """
    found = beginnings(pattern)
    if found is not None:
        return found
    if suffix := ending(pattern):
        return (Beginning(suffix, end=True),)
    part = inside(pattern)
    return (Beginning(part, inside=True),) if part else None


def folded(pattern: str) -> tuple[Beginning, ...] | None:
    """Return the same in small letters for a pattern that ignores case; None for other patterns. They are those of
    ASCII texts in small letters: other letters may stand for the same, as the Kelvin sign for k.
    """
    if not pattern.isascii() or not pattern.startswith(IGNORING_CASE):
        return None
    found = literals(pattern.removeprefix(IGNORING_CASE))
    return None if found is None else tuple(structs.replace(one, text=one.text.lower()) for one in found)


def ending(pattern: str) -> str:
    """Return a suffix of each matching text, empty where none is known: only of simple parts one after the other."""
    return _literal_parts(pattern)[-1]


def inside(pattern: str) -> str:
    """Return the longest known part of each matching text, empty where none is known."""
    return max(_literal_parts(pattern), key=len)


def _literal_parts(pattern: str) -> list[str]:
    """Return the literals of a pattern of simple parts, split where others are between; one empty text for others."""
    at, parts, pattern = 0, [""], pattern.removeprefix("^")
    while at < len(pattern):
        unit = _UNIT.match(pattern, at)
        if unit is None:
            return parts if pattern[at:] == "$" else [""]
        at = unit.end()
        literal = unit["escaped"] or unit["literal"]
        if literal and not unit["repeated"]:
            parts[-1] += literal
        else:
            parts.append("")
    return parts


def beginnings(pattern: str) -> tuple[Beginning, ...] | None:
    """Return a prefix for each alternative; None where a matching text may begin in any way, as far as is known
    here.
    """
    expanded = _expanded(pattern.removeprefix("^")) or [pattern]
    if any("(?" in each or "\\Q" in each for each in expanded):
        return None  # flags change what the characters after them stand for
    found = [_alternatives(each) for each in expanded]
    if None in found:
        return None
    prefixes = tuple(_beginning(each) for alternatives in found for each in alternatives or ())
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


@lru_cache(maxsize=MOST_KEPT)
def edges(pattern: str) -> Edges:
    """Return the edges of a pattern; empty texts where none are known."""
    known = beginnings(pattern)
    return Edges(("",) if known is None else tuple(one.text for one in known), ending(pattern))


def _expanded(pattern: str) -> list[str] | None:
    """Return a pattern for each text that a group or class at the beginning stands for, and for what follows where it
    may be absent; None without such a part, and with more than `MOST_CHOICES`.
    """
    found, rest, choices, absent = list[str](), pattern, 0, True
    while absent and (leading := _LEADING.match(rest)) is not None:
        group = leading["group"]
        texts = [*leading["class"]] if group is None else group.split("|")
        choices += len(texts)
        after = rest[leading.end() :]
        if choices > MOST_CHOICES:
            return None
        if len(_alternatives(after) or ()) != 1:
            break
        rest = after
        found += [f"{text}{rest}" for text in texts if text]
        absent = bool(leading["optional"]) or "" in texts
    if rest == pattern:
        return None
    return [*found, rest] if absent else found


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
