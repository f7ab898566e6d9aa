"""Texts that another person or an agent wrote, where a reader decides: on each line of the terminal one sees that it
belongs to the text.

Otherwise tabs, spaces or a new line move a part of a text to where a line of the card may begin.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

TAB = 8
BAR = "    | "
DASH = "- "
MIN_WIDTH = 8


class QuotedText(str):
    """Text that `Screen.fields` prints so."""

    __slots__ = ()


class QuotedItems(list[dict[str, Any]]):
    """Mappings that `Screen.fields` prints so: each row of their table behind a bar."""

    __slots__ = ()


class QuotedTexts(list[str]):
    """Texts that `Screen.fields` prints so: each on a line of its own, behind a bar."""

    __slots__ = ()

    def lines(self, visible: Callable[[str], str], console: Console) -> Iterator[Text]:
        """Yield the lines: each text behind a dash, and indented where it wraps. A text with a line end or a tab is
        JSON. `visible` replaces other control characters.
        """
        room = max(console.width - len(BAR) - len(DASH), MIN_WIDTH)
        for text in self:
            line = Text(visible(text if text.isprintable() else msgspec.json.encode(text).decode()))
            for number, part in enumerate(line.wrap(console, room, overflow="fold") or [Text()]):
                yield Text.assemble(BAR, " " * len(DASH) if number else DASH, part)


def quoted_lines(head: Text, text: str, console: Console) -> Iterator[Text]:
    """Yield the lines: one with the head if the text fits there, else the text behind bars, also where it wraps.

    `text`: without control characters other than tab and newline.
    """
    lines = text.strip("\n").split("\n")
    whole = Text.assemble(head, f" {lines[0]}")
    whole.expand_tabs(TAB)  # from the beginning of the line, as a terminal does
    if len(lines) == 1 and cell_len(whole.plain) <= console.width:
        yield whole
        return
    yield head
    for line in lines:
        for part in Text(line).wrap(
            console, max(console.width - len(BAR), MIN_WIDTH), overflow="fold", tab_size=TAB
        ) or [Text()]:
            yield Text.assemble(BAR, part)


def lines_behind(before: str, item: Table | Text, console: Console) -> Iterator[Text]:
    """Yield the lines of an item with this text before each."""
    options = console.options.update(width=max(console.width - len(before), MIN_WIDTH))
    for line in console.render_lines(item, options, pad=False):
        yield Text.assemble(before, *((part.text, part.style or "") for part in line))
