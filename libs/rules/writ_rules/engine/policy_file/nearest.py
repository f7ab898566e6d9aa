"""Spelling suggestions: the known word nearest to an unknown one, for a limited number of words of a file."""

from collections.abc import Iterable

from writ_contracts.nearest_name import near

MOST = 200
"""A search takes as long as compiling a rule, and a file may have a hundred thousand unknown words."""


class NearestNames:
    """Suggestions for one file."""

    def __init__(self) -> None:
        self._left = MOST

    def hint(self, word: str, known: Iterable[str]) -> str:
        """Return the suggestion to append to a message about the word."""
        self._left -= 1
        return near(word, known) if self._left >= 0 else ""
