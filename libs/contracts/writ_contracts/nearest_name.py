"""Suggestions for misspelt names."""

from collections.abc import Iterable
from difflib import get_close_matches

LONGEST = 64
"""No name is longer; a comparison takes as long as the product of both lengths."""


def near(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean '…'?` for the known name that is most like this one; nothing where none is."""
    found = get_close_matches(name, list(known), n=1) if len(name) <= LONGEST else []
    return f"; did you mean '{found[0]}'?" if found else ""
