"""Output: tables and sentences for people, JSON for programs; standard output has the result alone.

Text from outside (messages, outputs, names) never reaches the terminal as control characters or as markup.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
import msgspec
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from writ_cli.terminal.field_path import select
from writ_cli.terminal.iso_times import with_times
from writ_cli.terminal.item_tables import cell, columns_of, is_moment, is_table, shortened_digest
from writ_cli.terminal.quoted_text import BAR, TAB, QuotedItems, QuotedText, QuotedTexts, lines_behind, quoted_lines
from writ_cli.terminal.table_widths import (
    SPACE,
    ColumnWidth,
    Step,
    empty_columns,
    fits_whole,
    fitted,
    stacked,
    stacked_names,
    to_stack,
)
from writ_contracts.invisible_text import spelled_out
from writ_documents import yaml_file

YAML_START = "---\n"
"""The line before each document of a YAML stream."""
TABULATOR = "\t"
_ANY = 10_000
"""Wider than any table."""
_word = re.compile(r"\S+\s*").finditer
_COLOURS = {
    "succeeded": "green",
    "previewed": "cyan",
    "failed": "red",
    "denied": "red",
    "invalid": "red",
    "unknown": "magenta",
    "expired": "yellow",
    "cancelled": "yellow",
    "rejected": "yellow",
    "stale": "yellow",
}


class Screen:
    """The output of a command. `form` is `table`, `json` or `yaml`; `field` selects a part of the result."""

    def __init__(self, form: str, field: str | None = None, *, quiet: bool = False) -> None:
        """`quiet`: of a table the first column alone, and nothing else."""
        self.quiet = quiet
        self.form = form
        self.field = field
        # Narrower than any real table only in pipes: there nothing may be cut or wrapped.
        width = None if sys.stdout.isatty() else _ANY
        self.out = Console(highlight=False, markup=False, emoji=False, width=width, soft_wrap=not sys.stdout.isatty())
        self.err = Console(stderr=True, highlight=False, markup=False, emoji=False)

    @property
    def json(self) -> bool:
        """Return whether the output is for a program."""
        return self.form != "table" or self.field is not None

    @property
    def live(self) -> bool:
        """Return True if a person watches, so progress may be shown."""
        return self.err.is_terminal and not self.err.is_dumb_terminal and not self.err.no_color and not self.json

    def data(self, value: Any) -> None:
        """Write the result for programs: one document of JSON, indented, or of YAML; with `field` the values there, a
        line for each, texts as they are.
        """
        if self.field is not None:
            for part in select(with_times(value), self.field):
                click.echo(visible(part, newlines=True) if isinstance(part, str) else _json(part))
        elif self.form == "yaml":
            click.echo(_yaml(value), nl=False)
        else:
            click.echo(harmless(msgspec.json.format(msgspec.json.encode(with_times(value)), indent=2).decode()))

    def item(self, value: Any) -> None:
        """Write one of many results for programs, as it comes: one line of JSON, or one document of a YAML stream."""
        if self.form == "yaml":
            click.echo(f"{YAML_START}{_yaml(value)}", nl=False)
        else:
            click.echo(_json(with_times(value)))

    def refuse_field(self) -> None:
        """Raises UsageError for `--field`, which is for one result, where many come one after the other."""
        if self.field is not None:
            raise click.UsageError(
                "--field is for one result, and this command has many: use -o json, one line for each"
            )

    def line(self, *parts: str | Text, hang: int | None = None) -> None:
        """Write one line for people. Where it wraps, its further lines begin at column `hang`."""
        if not self.quiet:
            text = Text.assemble(*(visible(part) if isinstance(part, str) else visible_text(part) for part in parts))
            self._wrapped(text, hang)

    def whole(self, text: str) -> None:
        """Write one line to be copied: never wrapped."""
        self.out.print(visible(text), soft_wrap=True)

    def fields(self, pairs: Iterable[tuple[str, object]], indent: int = 2) -> None:
        """Print names and values, one a line, without the empty ones. Agents choose names too: those of an output."""
        for name, value in pairs:
            if isinstance(value, QuotedText) and value:
                self.quoted(" " * indent, (f"{visible(name)}:", "dim"), text=value)
            elif is_table(value):
                self._items(name, value, indent)
            elif isinstance(value, QuotedTexts) and value:
                self.out.print(Text.assemble(" " * indent, (f"{visible(name)}:", "dim")))
                self._print(value.lines(visible, self.out))
            elif value not in (None, "", [], {}):
                text = cell(name, value) if is_moment(name, value) else shown(value, indent + 2)
                self._wrapped(Text.assemble(" " * indent, (f"{visible(name)}: ", "dim"), text))

    def quoted(self, *head: str | tuple[str, str], text: str) -> None:
        """Print a text on the line of its head if it fits there; else in lines of its own, each behind a bar."""
        self._print(quoted_lines(Text.assemble(*head), visible(text, newlines=True), self.out))

    def _print(self, lines: Iterable[Text]) -> None:
        plain = not self.out.is_terminal and self.out.color_system is None
        for line in lines:
            if plain and TABULATOR not in line.plain:
                click.echo(line.plain, file=self.out.file)  # Rich takes 0.1 ms for a line, and a report may have 10,000
            else:
                self.out.print(line, soft_wrap=True)

    def _wrapped(self, text: Text, hang: int | None = None) -> None:
        """Print lines whose further lines begin at column `hang`. A word that is longer than a line stays whole, so
        that a path or a key can be copied: the terminal breaks it.
        """
        width = self.out.width
        for line in text.split("\n"):
            line.expand_tabs(TAB)  # a terminal would move on what follows, to where a line of its own may begin
            first = len(line.plain) - len(line.plain.lstrip(" "))
            further = first + SPACE if hang is None else hang
            fits = width == _ANY or cell_len(line.plain) <= width or further + SPACE > width
            offsets = [] if fits else _breaks(line.plain, first, width, width - further)
            for number, part in enumerate(line.divide(offsets)):
                if offsets:
                    part.rstrip()
                self._print([Text.assemble(" " * further, part) if number else part])

    def _items(self, name: str, items: Any, indent: int) -> None:
        """Print a list of mappings as a table. Where that is too wide, with shortened digests, as the engine's own
        programs show ids of containers; where it still is, each item after the other with its names.
        """
        keys, before = columns_of(items), BAR if isinstance(items, QuotedItems) else " " * (indent + 2)
        room = self.out.width - len(before)
        columns = [visible(key) for key in keys]
        rows = [[visible(cell(key, item.get(key))) for key in keys] for item in items]
        self.out.print(Text.assemble(" " * indent, (f"{visible(name)}:", "dim")))
        for shown_rows in (rows, [[shortened_digest(part) for part in row] for row in rows]):
            widths = fitted(columns, shown_rows, (), room)
            if sum(one.width + SPACE for one in widths) - SPACE <= room:
                table = _table(columns, [[Text(part) for part in row] for row in shown_rows], widths)
                self._print(lines_behind(before, table, self.out))
                return
        for row in rows:
            parts = ", ".join(f"{key}: {part}" for key, part in zip(columns, row, strict=True) if part)
            self._print(lines_behind(before, Text(f"- {parts}"), self.out))

    def listing(
        self,
        found: Sequence[object],
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        empty: str,
        drop: Sequence[Step],
    ) -> None:
        """Write `found` for programs, or `rows` as a table for people. `empty`: the line if nothing is found."""
        if self.json:
            self.data(found)
        elif found:
            self.table(columns, rows, drop=drop)
        else:
            self.line(empty)

    def table(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        drop: Sequence[Step] = (),
        spill: bool = False,
        cut: bool = False,
    ) -> None:
        """Print rows under headings. On a terminal that is too narrow the columns of `drop` are left out, and pairs of
        columns in it are stacked, one after the other; longer texts wrap between words. `spill`: the last column is
        printed beneath then, a line for each row, quoted if it is a QuotedText; with `cut` only what fits there.
        """
        rows = [*rows]
        cells = [[visible_text(_as_text(cell)) for cell in row] for row in rows]
        if self.quiet:
            named = columns.index("operation") if "when" in columns[:1] else 0
            for row in cells:
                click.echo(row[named].plain)
            return
        if not spill or fits_whole(fitted(columns, _plain(cells), (), self.out.width), self.out.width):
            self._fitting_table(columns, cells, drop)
            return
        self._fitting_table(columns[:-1], [row[:-1] for row in cells], drop)
        for row, given in zip(cells, rows, strict=True):
            if row[-1] and isinstance(given[-1], QuotedText):
                self.quoted(f"{row[0].plain}: {columns[-1]}:", text=given[-1])
            elif row[-1]:
                line = Text.assemble(row[0], f": {columns[-1]}: ", row[-1])
                if cut:
                    line.truncate(self.out.width, overflow="ellipsis")
                self._wrapped(line)

    def _fitting_table(self, columns: Sequence[str], cells: Sequence[Sequence[Text]], steps: Sequence[Step]) -> None:
        """Print the table, made narrower by as many of the steps as it takes, and without their empty columns."""
        width = self.out.width
        empty = empty_columns(columns, _plain(cells), steps)
        cells = [[cell for name, cell in zip(columns, row, strict=True) if name not in empty] for row in cells]
        columns = [name for name in columns if name not in empty]
        steps = [step for step in steps if isinstance(step, str) or empty.isdisjoint(step)]
        for pair in to_stack(columns, _plain(cells), steps, width):
            cells = [stacked(columns, row, pair, _beneath) for row in cells]
            columns = stacked_names(columns, pair)
        drop = [step for step in steps if isinstance(step, str)]
        self.out.print(_table(columns, cells, fitted(columns, _plain(cells), drop, width, fold=True)))


def _plain(cells: Sequence[Sequence[Text]]) -> list[list[str]]:
    return [[cell.plain for cell in row] for row in cells]


def _beneath(first: Text, second: Text) -> Text:
    return Text.assemble(first, "\n", second) if second else first


def _yaml(value: object) -> str:
    """Return one document, with control and invisible characters escaped."""
    built = with_times(value)
    text = yaml_file.dump(built)
    return yaml_file.dump(built, ascii_only=True) if visible(text, newlines=True) != text else text


def _json(value: object) -> str:
    return harmless(msgspec.json.encode(value).decode())


def _breaks(text: str, start: int, width: int, further: int) -> list[int]:
    """Return the offsets of the words that begin further lines. `start`: the offset of the first word; `width`: the
    columns of the first line, `further` those of the others.
    """
    found, used = list[int](), start
    for word in _word(text, start):
        if word.start() > start and used + cell_len(word[0].rstrip()) > (further if found else width):
            found.append(word.start())
            used = 0
        used += cell_len(word[0])
    return found


def _table(columns: Sequence[str], rows: Sequence[Sequence[Text]], widths: Sequence[ColumnWidth]) -> Table:
    """Return the table of these columns, each of its width."""
    table = Table(box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False, show_edge=False, header_style="bold")
    lines = max((columns[one.index].count("\n") for one in widths), default=0)
    for one in widths:
        heading = columns[one.index]
        heading += "\n" * (lines - heading.count("\n"))  # at the top, as the cells are
        table.add_column(heading, overflow="fold", width=one.width if one.wraps else None, no_wrap=not one.wraps)
    for row in rows:
        table.add_row(*(row[one.index] for one in widths))
    return table


def harmless(document: str) -> str:
    """Return the same JSON, with all control and invisible characters escaped: they occur in its strings only."""
    shown = spelled_out(document, _escaped)
    return "".join(char if char.isprintable() or char == "\n" else _escaped(char) for char in shown)


def _escaped(char: str) -> str:
    """Return the character in JSON's escaped form (RFC 8259, section 7)."""
    units = char.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def outcome(word: str | None) -> Text:
    """Return an outcome or state in its colour."""
    return Text(visible(word or ""), style=_COLOURS.get(word or "", ""))


def visible(text: str, *, newlines: bool = False) -> str:
    """Return the text with every control or invisible character replaced."""
    kept = "\n\t" if newlines else ""
    return "".join(char if char.isprintable() or char in kept else "�" for char in spelled_out(text, lambda _: "�"))


def visible_text(text: Text) -> Text:
    """Return the text with every control or invisible character but newline and tab replaced; its styles stay."""
    made = text.copy()
    made.plain = visible(text.plain, newlines=True)  # as long as before, so each style stays at its place
    return made


def shown(value: object, indent: int = 0) -> str:
    """Return a value for people: text as it is, its further lines indented; anything else as JSON."""
    if isinstance(value, str):
        lines = visible(value, newlines=True).rstrip("\n").split("\n")
        return f"\n{' ' * indent}".join(["", *lines] if len(lines) > 1 else lines)
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return f"\n{' ' * indent}".join(["", *(shown(item) for item in value)])
    return visible(msgspec.json.encode(value).decode())


def _as_text(cell: object) -> Text:
    return cell if isinstance(cell, Text) else Text(visible(_brief(cell)))


def _brief(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return "" if value is None else str(value)
