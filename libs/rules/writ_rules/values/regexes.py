"""Derive candidate strings for a regular expression from its syntax tree. Callers check each one.

The tree comes from Python's own parser, which reads nearly all of RE2's syntax. Unreadable patterns, and Unicode
classes, whose samples would be guesses, give no samples. The lack of a sample therefore proves nothing about the
pattern.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import islice, product
from re import _constants as names  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

MOST = 12
ALPHABET = "a0A-_./:@ !~" + "bcdefghijklmnopqrstuvwxyz" + "123456789" + "BCDEFGHIJKLMNOPQRSTUVWXYZ" + "\n\u00e9"
_LONGEST_REPEAT = 64
_SURROGATES = range(0xD800, 0xE000)


class NoSample(Exception):
    """Raised when no sample can be derived from the pattern."""


def samples(pattern: str) -> list[str]:
    """Return a few strings, short ones first; empty where none can be derived."""
    return list(_samples(pattern))


@lru_cache(maxsize=256)
def _samples(pattern: str) -> tuple[str, ...]:
    try:
        made = dict.fromkeys(islice(_sequence(tree_of(pattern)), MOST))
    except (re.error, NoSample, OverflowError, RecursionError):
        return ()
    return tuple(text for text in made if text.isascii() or not any(ord(each) in _SURROGATES for each in text))


def named(pattern: str) -> list[str]:
    """Return the first characters in the pattern, also excluded ones: texts with these may be just those it doesn't
    match.
    """
    try:
        codes = dict.fromkeys(_characters(tree_of(pattern)))
    except (re.error, OverflowError, RecursionError):
        return []
    return [
        chr(code) for code in islice((code for code in codes if code <= 0x10FFFF and code not in _SURROGATES), MOST)
    ]


def alternatives_ending(pattern: str, end: str) -> tuple[int, int]:
    """Return the number of alternatives which match only texts with this end, and the number of all; none where
    unknown.
    """
    try:
        tree = tree_of(pattern)
        endings = [] if tree.state.flags & re.IGNORECASE else list(_ending(tree, end))
    except (re.error, OverflowError, RecursionError):
        return 0, 0
    return sum(endings), len(endings)


def _ending(items: Iterable[Any], end: str) -> Iterator[bool]:
    tail = ""
    for kind, argument in reversed(list(items)):
        if kind is names.LITERAL and len(tail) < len(end):
            tail = chr(argument) + tail
        elif kind is names.SUBPATTERN and not tail and not argument[1]:
            yield from _ending(argument[3], end)
            return
        elif kind is names.BRANCH and not tail:
            for arm in argument[1]:
                yield from _ending(arm, end)
            return
        elif kind is not names.AT:
            break
    yield tail == end


def tree_of(pattern: str) -> Any:
    """Parse the pattern, with RE2's classes in Python's syntax. A mistranslation yields samples without a match, and no
    harm.
    """
    for name, characters in _posix.items() if "[:" in pattern else ():
        pattern = pattern.replace(f"[:{name}:]", characters)
    pattern = re.sub(r"\\x\{([0-9A-Fa-f]{1,6})\}", lambda found: f"\\U{int(found[1], 16):08x}", pattern)
    with warnings.catch_warnings(action="ignore"):  # of sets that may mean something else in a Python to come
        return parser.parse(pattern)


def _characters(items: Iterable[Any]) -> Iterator[int]:
    for kind, argument in items:
        if kind in (names.LITERAL, names.NOT_LITERAL):
            yield argument
        elif kind is names.RANGE:
            yield from (*argument, argument[1] + 1)
        elif kind is names.CATEGORY:
            yield from map(ord, [char for char in ALPHABET if _category[argument](char)][:1])
        elif kind is names.BRANCH:
            for arm in argument[1]:
                yield from _characters(arm)
        elif kind in (names.MAX_REPEAT, names.MIN_REPEAT):
            yield from _characters(argument[2])
        elif kind is names.SUBPATTERN:
            yield from _characters(argument[3])
        elif kind in (names.IN, names.ATOMIC_GROUP):
            yield from _characters(argument)


def _sequence(items: Iterable[Any]) -> list[str]:
    texts = [""]
    for kind, argument in items:
        pieces = _node(kind, argument)
        # Each piece is seen once; all combinations would be too many.
        texts = [left + right for left, right in _spread(texts, pieces)]
    return texts


def _spread(lefts: list[str], rights: list[str]) -> Iterator[tuple[str, str]]:
    if len(lefts) * len(rights) <= MOST:
        yield from product(lefts, rights)
        return
    for at in range(min(MOST, max(len(lefts), len(rights)))):
        yield lefts[at % len(lefts)], rights[at % len(rights)]


def _node(kind: Any, argument: Any) -> list[str]:
    make = _makers.get(kind)
    if make is None:
        raise NoSample(str(kind))
    return make(argument)[:MOST]


def _branch(argument: Any) -> list[str]:
    arms = [_sequence(arm) for arm in argument[1]]
    return [arm[0] for arm in arms if arm] + [text for arm in arms for text in arm[1:]]


def _repeat(argument: Any) -> list[str]:
    least, most, inner = argument
    if least > _LONGEST_REPEAT:
        pieces = _sequence(inner)
        return [pieces[0] * least]
    pieces = _sequence(inner)
    counts = [count for count in (least, least + 1, least + 2) if count <= most] or [least]
    texts = [piece * count for count in counts for piece in pieces]
    if len(pieces) > 1 and most >= 2:
        texts.append("".join(pieces[: max(least, min(int(most), len(pieces)))]))
    return sorted(dict.fromkeys(texts), key=len)


def _in(argument: Any) -> list[str]:
    return list(_of_class(tuple(argument)))


@lru_cache(maxsize=256)
def _of_class(items: tuple[Any, ...]) -> tuple[str, ...]:
    """Return a few characters of a class. Many patterns have the same ones, such as `[a-z]`."""
    if items[0][0] is names.NEGATE:
        excluded = items[1:]
        return tuple([char for char in ALPHABET if not any(_has(item, char) for item in excluded)][:3])
    characters = [char for char in ALPHABET if any(_has(item, char) for item in items)][:3]
    characters += [chr(value) for kind, value in items if kind is names.LITERAL]
    characters += [chr(end) for kind, value in items if kind is names.RANGE for end in value]
    return tuple(dict.fromkeys(characters))[:4]


def _has(item: Any, char: str) -> bool:
    kind, value = item
    if kind is names.LITERAL:
        return bool(ord(char) == value)
    if kind is names.RANGE:
        return bool(value[0] <= ord(char) <= value[1])
    if kind is names.CATEGORY:
        return _category[value](char)
    raise NoSample(str(kind))


def _any_but(argument: Any) -> list[str]:
    return [char for char in ALPHABET if ord(char) != argument][:2]


_posix = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f",
    "digit": "0-9",
    "lower": "a-z",
    "punct": "!-/",
    "space": r"\s",
    "upper": "A-Z",
    "word": r"\w",
    "xdigit": "0-9A-Fa-f",
}
_category: dict[Any, Callable[[str], bool]] = {
    names.CATEGORY_DIGIT: str.isdigit,
    names.CATEGORY_NOT_DIGIT: lambda char: not char.isdigit(),
    names.CATEGORY_SPACE: str.isspace,
    names.CATEGORY_NOT_SPACE: lambda char: not char.isspace(),
    names.CATEGORY_WORD: lambda char: char.isascii() and (char.isalnum() or char == "_"),
    names.CATEGORY_NOT_WORD: lambda char: not (char.isascii() and (char.isalnum() or char == "_")),
}
_makers: dict[Any, Callable[[Any], list[str]]] = {
    names.LITERAL: lambda argument: [chr(argument)],
    names.NOT_LITERAL: _any_but,
    names.ANY: lambda _: ["a", "0", "-"],
    names.IN: _in,
    names.BRANCH: _branch,
    names.SUBPATTERN: lambda argument: _sequence(argument[3]),
    names.ATOMIC_GROUP: _sequence,
    names.MAX_REPEAT: _repeat,
    names.MIN_REPEAT: _repeat,
    names.AT: lambda _: [""],
    names.ASSERT: lambda _: [""],
    names.ASSERT_NOT: lambda _: [""],
}
