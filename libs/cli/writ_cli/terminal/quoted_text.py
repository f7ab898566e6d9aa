"""Texts that another person or an agent wrote, where a reader decides: on each line of the terminal one sees that it
belongs to the text.

Otherwise tabs, spaces or a new line move a part of a text to where a line of the card may begin.
"""

from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

TAB = 8
BAR = "    | "
MIN_WIDTH = 8


class QuotedText(str):
    """Text that `Screen.fields` prints so."""

    __slots__ = ()


def quoted_lines(head: Text, text: str, console: Console) -> Iterator[Text]:
    """Yield the lines: one with the head if the text fits there, else the text behind bars, also where it wraps.

    `text`: without control characters other than tab and newline.
    """
    lines = text.strip("\n").split("\n")
    if len(lines) == 1 and cell_len(f"{head.plain} {lines[0].expandtabs(TAB)}") <= console.width:
        yield Text.assemble(head, f" {lines[0]}")
        return
    yield head
    for line in lines:
        for part in Text(line).wrap(
            console, max(console.width - len(BAR), MIN_WIDTH), overflow="fold", tab_size=TAB
        ) or [Text()]:
            yield Text.assemble(BAR, part)
