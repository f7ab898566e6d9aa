"""A file as data, with the position of each part for messages about it.

All problems of a file are reported at once, up to `MOST`: a hostile megabyte can hold a hundred thousand. Nothing here
knows the file's format.
"""

import re
from collections.abc import Callable
from functools import cached_property
from typing import Any

from msgspec import Struct, field, structs

from writ_contracts.errors import ConfigError

Keys = tuple[str | int, ...]
"""The path to a value from the top of the document: keys and list indexes."""
MOST = 200
"""Upper limit of the reported problems of one file; a note says when there are more."""
LONGEST_MESSAGE = 1000
WIDEST_EXCERPT = 71
"""With the line's number within 80 columns, or the caret beneath is at the wrong place."""
LINE_END = re.compile("\r\n|[\r\n\x85\u2028\u2029]")  # what YAML counts as one


class Position(Struct, frozen=True):
    """Line and column, both from 1."""

    line: int
    column: int


class FileProblem(Struct, frozen=True):
    """One mistake in a file; the excerpt is its line with a caret below."""

    file: str
    line: int
    column: int
    message: str
    excerpt: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class FileErrors(ConfigError):
    """Raised when a file can't be used; `found` has its problems, top to bottom, up to `MOST`."""

    def __init__(self, *found: FileProblem) -> None:
        reported = sorted(found, key=lambda problem: (problem.line, problem.column))[:MOST]
        if len(found) > MOST:
            reported[-1] = structs.replace(
                reported[-1], message=f"{reported[-1].message}; further problems are not shown"
            )
        self.found = tuple(reported)
        super().__init__(*map(str, self.found))

    def explained(self) -> str:
        """Return each problem with its excerpt, for a person."""
        return "\n".join(f"{problem}\n{problem.excerpt}" for problem in self.found)


class Positions(Struct):
    """Positions of values, and of their keys."""

    values: dict[Keys, Position] = field(default_factory=dict)
    keys: dict[Keys, Position] = field(default_factory=dict)


class Document:
    """The data of one file, with the position of each part. Positions are found on first use: most files have no
    problems, and the positions of a large one take as much memory and time as its data.
    """

    def __init__(self, name: str, text: str, find: Callable[[], Positions] = Positions) -> None:
        """`find` returns all positions."""
        self.name = name
        self.data: Any = None
        self._text = text
        self._find = find

    @cached_property
    def _lines(self) -> list[str]:
        return LINE_END.split(self._text)

    @cached_property
    def _places(self) -> Positions:
        return self._find()

    def position(self, keys: Keys) -> Position:
        """Return the position of a value; for a missing one, its container's."""
        while keys and keys not in self._places.values:
            keys = keys[:-1]
        return self._places.values.get(keys, Position(1, 1))

    def key_position(self, keys: Keys) -> Position:
        """Return the position of the value's key; list items have none, so it is the item's own."""
        return self._places.keys.get(keys) or self.position(keys)

    def problem(self, keys: Keys, message: str, *, at_key: bool = False) -> FileProblem:
        """Return a problem of a value (or its key)."""
        return self.problem_at(self.key_position(keys) if at_key else self.position(keys), message)

    def problem_at(self, position: Position, message: str) -> FileProblem:
        line = self._lines[position.line - 1] if position.line <= len(self._lines) else ""
        shown_message = message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]}…"
        return FileProblem(self.name, position.line, position.column, shown_message, _excerpt(line, position))


def _excerpt(line: str, position: Position) -> str:
    start = 0 if len(line) <= WIDEST_EXCERPT else max(0, position.column - WIDEST_EXCERPT // 2)
    shown = "".join(char if char.isprintable() else " " for char in line[start : start + WIDEST_EXCERPT])
    number = f"{position.line:5} | "
    return f"{number}{shown}\n{' ' * 5} | {' ' * (position.column - 1 - start)}^"
