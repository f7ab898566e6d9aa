"""Suggestions for misspelt names."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

SUGGESTED = "did you mean"
LEAST_BEGINNING = 3
LONGEST = 64
"""No name is longer; a comparison takes as long as the product of both lengths."""
CANDIDATES = 8
"""Names with many letters in common that are compared by their edits."""
MOST_HAVING = 5
"""Names with a word in common: more of them are a list, not a suggestion."""
_WILDCARD = re.compile(r"[*?[]")
_WORD_END = re.compile(r"[-_.]|$")
LETTERS_PER_EDIT = 3
"""A name with more edits than one for three letters is another word, as `operator` is for `contractor`."""


def near(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean '…'?` for the known names that this one may stand for; nothing where none is.

    Beside a misspelt one these are the few that have it as one of their words, as `path` is in `source_path` and
    `dest_path`.
    """
    names = list(known)
    if hint := misspelt(name, names):
        return hint
    words = _words(name)
    having = [one for one in names if len(name) >= LEAST_BEGINNING and len(words) == 1 and words[0] in _words(one)]
    return did_you_mean(sorted(having) if len(having) <= MOST_HAVING else [])


def near_glob(glob: str, known: Iterable[str]) -> str:
    """Return `; did you mean '…'?` for a glob that matches no known name: for one with a beginning that some have, as
    `node-*` is for `nodde-*`; of a word without a wildcard, what `near` returns.
    """
    names = list(known)
    head = _WILDCARD.split(glob, maxsplit=1)[0]
    if head == glob:
        return near(glob, names)
    found = (f"{one}{glob[len(head) :]}" for one in nearest(head, _beginnings(names), CANDIDATES))
    return did_you_mean([one for one in found if any(fnmatchcase(name, one) for name in names)][:1])


def _beginnings(names: Iterable[str]) -> set[str]:
    """Return what the names begin with: their first words, with and without the separator behind them."""
    return {name[:end] for name in names for word in _WORD_END.finditer(name) for end in word.span()}


def misspelt(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean '…'?` for the known name that is most like this one; nothing where none is.

    A name of three letters or more is also like the one known name that it begins, as `prod` is like `production`, or
    that has the same words, as `list_containers` is like `container_list`.
    """
    names = list(known)
    if found := nearest(name, names):
        return did_you_mean(found)
    begun = [one for one in names if len(name) >= LEAST_BEGINNING and one.startswith(name)]
    words = _words(name)
    same = [one for one in names if len(words) > 1 and _words(one) == words]
    return did_you_mean(next((one for one in (begun, same) if len(one) == 1), []))


def _words(name: str) -> list[str]:
    """Return the words of a name, in one order and without the `s` of a plural."""
    return sorted(word.removesuffix("s") for word in name.lower().replace("-", "_").split("_"))


def nearest(name: str, known: Iterable[str], most: int = 1) -> list[str]:
    """Return at most so many of the known names that differ from this one by few edits, the nearest first."""
    if len(name) > LONGEST:
        return []
    similar = get_close_matches(name, known, n=CANDIDATES)
    found = [(edits(name, one), one) for one in similar]
    near_ones = [(count, one) for count, one in found if count <= max(1, max(len(name), len(one)) // LETTERS_PER_EDIT)]
    return [one for _, one in sorted(near_ones, key=lambda pair: pair[0])[:most]]


def edits(one: str, other: str) -> int:
    """Return the number of letters to insert, delete, replace or swap with their neighbour that turn one name into the
    other (optimal string alignment).
    """
    before, last = list[int](), list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        line = [row]
        for column, wanted in enumerate(other, 1):
            line.append(min(last[column] + 1, line[-1] + 1, last[column - 1] + (letter != wanted)))
            if row > 1 and column > 1 and (letter, one[row - 2]) == (other[column - 2], wanted):
                line[-1] = min(line[-1], before[column - 2] + 1)
        before, last = last, line
    return last[-1]


def did_you_mean(names: Sequence[str]) -> str:
    """Return `; did you mean 'a', 'b' or 'c'?`: the one form of suggestions in messages; nothing without a name."""
    if not names:
        return ""
    *others, last = (f"'{name}'" for name in names)
    return f"; {SUGGESTED} {' or '.join([', '.join(others), last] if others else [last])}?"
