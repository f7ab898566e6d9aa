"""Text from hosts on its way to a language model: bounded, with nothing invisible in it. Pure functions.

A file, a service's name or an error message may hold instructions written for the model. They cannot be recognised, so
such text stands in named fields of a result alone, and the result calls these fields data.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from writ_contracts.invisible_text import spelled_out

MOST_CHARACTERS = 24_000
"""Of all text of one result, about 8,000 tokens."""
MOST_ITEMS = 500
SHORT = 200


def visible(text: str) -> str:
    """Return the text with every control or invisible character but tab and newline spelled out."""
    return spelled_out(text, lambda char: f"\\u{{{ord(char):x}}}")


class BoundedCopy:
    """A bounded copy of plain data: at most `most` characters of long texts, as many of short ones, and of names,
    `MOST_ITEMS` a list.

    Short texts have room of their own, so the content of a file never displaces an operation's outcome. `cut`: the
    shortened fields; `escaped`: those with characters that are spelled out.
    """

    def __init__(self, most: int = MOST_CHARACTERS) -> None:
        self._long, self._short, self._names = most, most, most
        self.cut: list[str] = []
        self.escaped: list[str] = []

    def copy(self, value: Any, path: str = "") -> Any:
        """Return a copy of the value, cut to the room that is left."""
        match value:
            case str():
                return self._text(value, path)
            case dict():
                return self._fields(value, path)
            case list() | tuple():
                return self._items(value, path)
            case _:
                return value

    def _fields(self, fields: Mapping[Any, Any], path: str) -> dict[str, Any]:
        """Copy fields while there is room for their names: hosts choose those of labels."""
        kept: dict[str, Any] = {}
        inside = f"{path}." if path else ""
        for name, part in fields.items():
            shown = visible(str(name)[:SHORT])[:SHORT]
            self._names -= len(shown)
            if path and self._names < 0:  # the names at the top are ours
                _note(self.cut, path)
                break
            kept[shown] = self.copy(part, f"{inside}{shown}")
        return kept

    def _items(self, items: Sequence[Any], path: str) -> list[Any]:
        kept: list[Any] = []
        for item in items:
            if self._short <= 0 or len(kept) >= MOST_ITEMS:
                _note(self.cut, path)
                break
            self._short -= 1
            kept.append(self.copy(item, path))
        return kept

    def _text(self, text: str, path: str) -> str:
        short = len(text) <= SHORT
        left = max(self._short if short else self._long, 0)
        shown = visible(text[: left + 1])
        if shown != text[: left + 1]:
            _note(self.escaped, path)
        if len(shown) > left:
            _note(self.cut, path)
            shown = shown[:left]
        if short:
            self._short -= len(shown)
        else:
            self._long -= len(shown)
        return shown


def _note(paths: list[str], path: str) -> None:
    """Note a field of a result, or of one of its fields: hosts choose the names below, such as those of labels."""
    named = ".".join(path.split(".")[:2])
    if named not in paths:
        paths.append(named)
