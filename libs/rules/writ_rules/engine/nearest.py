"""The known word that comes nearest to an unknown one, for as many words of a file as anybody will read of."""

from collections.abc import Iterable
from difflib import get_close_matches

MOST = 200
"""Looking for one takes as long as compiling a rule, and a file may have a hundred thousand words that nobody knows."""


class Nearest:
    """Of one file."""

    def __init__(self) -> None:
        self._left = MOST

    def hint(self, word: str, known: Iterable[str]) -> str:
        """What to add to a message about the word."""
        self._left -= 1
        near = get_close_matches(word, known, n=1) if self._left >= 0 else []
        return f"; did you mean '{near[0]}'?" if near else ""
