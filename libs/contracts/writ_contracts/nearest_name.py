"""Suggestions for misspelt names."""

from collections.abc import Iterable
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
    return f"; did you mean '{found[0]}'?" if found else ""
