"""A file that a person wrote, as data, with the place of each part: so that whatever is said of it says where.

All that is wrong with a file is said at once. Nothing here knows the file's format.
"""

import re
from typing import Any

from msgspec import Struct

from writ_runtime.config import ConfigError

Keys = tuple[str | int, ...]
"""The way to a value from the top of the document: keys and list indexes."""
_LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # what YAML counts as one


class Place(Struct, frozen=True):
    """Line and column, both from 1."""

    line: int
    column: int


class Problem(Struct, frozen=True):
    """One mistake in a file; the excerpt is its line with a caret below."""

    file: str
    line: int
    column: int
    message: str
    excerpt: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class FileErrors(ConfigError):
    """A file can't be used; `found` has all that is wrong with it, top to bottom."""

    def __init__(self, *found: Problem) -> None:
        self.found = tuple(sorted(found, key=lambda problem: (problem.line, problem.column)))
        super().__init__(*map(str, self.found))

    def explained(self) -> str:
        """Each problem with its excerpt, for a person."""
        return "\n".join(f"{problem}\n{problem.excerpt}" for problem in self.found)


class Document:
    """The data of one file, and where each part of it stands."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.data: Any = None
        self._lines = _LINE_END.split(text)
        self._values: dict[Keys, Place] = {}
        self._keys: dict[Keys, Place] = {}

    def place(self, keys: Keys) -> Place:
        """Where the value stands; for one that is missing, where what should hold it stands."""
        while keys and keys not in self._values:
            keys = keys[:-1]
        return self._values.get(keys, Place(1, 1))

    def key_place(self, keys: Keys) -> Place:
        """Where the key of this value stands; list items have none, so it is the item's own place."""
        return self._keys.get(keys) or self.place(keys)

    def problem(self, keys: Keys, message: str, *, at_key: bool = False) -> Problem:
        """Something to say about a value (or its key)."""
        return self.problem_at(self.key_place(keys) if at_key else self.place(keys), message)

    def problem_at(self, place: Place, message: str) -> Problem:
        """Something to say about a place."""
        line = self._lines[place.line - 1] if place.line <= len(self._lines) else ""
        return Problem(self.name, place.line, place.column, message, _excerpt(line, place))

    def note(self, keys: Keys, value: Place, key: Place | None) -> None:
        """Remembers where a value and its key stand."""
        self._values[keys] = value
        if key is not None:
            self._keys[keys] = key


def _excerpt(line: str, place: Place) -> str:
    shown = "".join(char if char.isprintable() else " " for char in line)
    start = max(0, place.column - 80)
    number = f"{place.line:5} | "
    return f"{number}{shown[start : start + 120]}\n{' ' * 5} | {' ' * (place.column - 1 - start)}^"
