"""The rows of `writ audit search`: a table that fits the terminal, CSV, or JSON lines."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType

import click
from rich.text import Text

from writ_cli.terminal import times
from writ_cli.terminal.output import Screen, outcome, visible
from writ_contracts.history.audit import SearchReply, SearchRow

Cell = Callable[[SearchRow], object]


def _outcome(row: SearchRow) -> Text:
    """Return the outcome, or the state: of a dry run with this word, unless its outcome is of dry runs alone."""
    shown = outcome(row.outcome or row.state)
    return shown.append(" (dry run)") if row.dry_run and row.outcome != "previewed" else shown


COLUMNS: Mapping[str, Cell] = MappingProxyType(
    {
        "when": lambda row: times.date(row.requested_at),
        "operation": lambda row: row.operation_id,
        "who": lambda row: row.principal,
        "what": lambda row: row.operation,
        "target": lambda row: row.target,
        "outcome": _outcome,
        "parameters": lambda row: row.parameters,
        "code": lambda row: row.code,
        "rules": lambda row: row.rules,
        "reason": lambda row: row.reason,
        "message": lambda row: row.message,
        "correlation": lambda row: row.correlation_id,
        "security": lambda row: row.security_events or "",
        "sequence": lambda row: row.first_sequence,
    }
)


def _in_iso(moment: Callable[[SearchRow], float]) -> Cell:
    return lambda row: times.iso(moment(row))


def _fields() -> Iterator[tuple[str, Cell]]:
    for name in SearchRow.__struct_fields__:
        yield name, attrgetter(name)
        if name.endswith("_at"):
            yield f"{name}_iso", _in_iso(attrgetter(name))


FIELDS: Mapping[str, Cell] = MappingProxyType(dict(_fields()))
"""All of a row; each Unix time in ISO 8601 too, as in JSON."""
WIDE = ("when", "operation", "who", "what", "target", "outcome", "parameters", "code", "security")
NARROWED = (
    "security",
    "code",
    "parameters",
    ("when", "operation"),
    ("who", "what"),
    ("target", "outcome"),
    "target\noutcome",
    "who\nwhat",
)
"""A row shows who did what, when, where, and how it ended: on a narrow terminal these are stacked in pairs."""


def chosen_columns(words: str | None) -> list[str]:
    """Return the named columns; none where none are named. Raises UsageError."""
    names = [] if words is None else [name.strip() for name in words.split(",")]
    if unknown := [name for name in names if name not in COLUMNS]:
        raise click.UsageError(f"no column {unknown[0]!r}; there are {', '.join(COLUMNS)}")
    return names


def show_rows(screen: Screen, answer: SearchReply, columns: Sequence[str]) -> None:
    """Show the found operations. `columns`: none for the usual ones."""
    if screen.form == "csv":
        click.echo(csv_text(answer.rows, columns), nl=False)
    elif screen.form == "jsonl":
        for row in answer.rows:
            screen.item(row)
    elif screen.json:
        screen.data(answer)
    elif not answer.rows:
        screen.line("no operation on record matches")
    else:
        _table(screen, answer, columns)


def csv_text(rows: Sequence[SearchRow], columns: Sequence[str]) -> str:
    """Return the rows as RFC 4180 has them; all fields of a row unless columns are named. A cell that a spreadsheet
    would take for a formula is quoted by an apostrophe. Control characters are replaced: requesters choose reasons, and
    the rows may be read on a terminal. JSON has each text as it is.
    """
    cells = COLUMNS if columns else FIELDS
    names = columns or list(FIELDS)
    return csv_of(names, ([cells[name](row) for name in names] for row in rows))


def csv_of(names: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a heading and rows, with their cells as `csv_text` has them."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(names)
    writer.writerows(map(_plain, row) for row in rows)
    return out.getvalue()


def _plain(cell: object) -> str:
    text = "" if cell is None else visible(str(cell), newlines=True)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text


def _table(screen: Screen, answer: SearchReply, columns: Sequence[str]) -> None:
    names = columns or WIDE
    rows = [[COLUMNS[name](row) for name in names] for row in answer.rows]
    screen.table(names, rows, drop=() if columns else NARROWED)
    if reported := [row.operation_id for row in answer.rows if row.security_events]:
        screen.line(Text(f"security events about {len(reported)} of these: writ trace {reported[0]}", style="bold red"))
    if answer.more:
        screen.line(f"there are more: --before {answer.rows[-1].first_sequence}")
