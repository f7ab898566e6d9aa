"""Suggestions for misspelt names."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

LEAST_BEGINNING = 3
LONGEST = 64
"""No name is longer; a comparison takes as long as the product of both lengths."""


def near(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean '…'?` for the known name that is most like this one; nothing where none is.

    A name of three letters or more is also like the one known name that it begins, as `prod` is like `production`.
    """
    names = list(known)
    found = get_close_matches(name, names, n=1) if len(name) <= LONGEST else []
    begun = [one for one in names if len(name) >= LEAST_BEGINNING and one.startswith(name)]
    if not found and len(begun) == 1:
        found = begun
    return did_you_mean(found)


def did_you_mean(names: Sequence[str]) -> str:
    """Return `; did you mean 'a', 'b' or 'c'?`: the one form of suggestions in messages; nothing without a name."""
    if not names:
        return ""
    *others, last = (f"'{name}'" for name in names)
    return f"; did you mean {' or '.join([', '.join(others), last] if others else [last])}?"
