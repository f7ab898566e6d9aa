"""Write the tables of docs/performance.md between two marks in it, from the figures of a run."""

from collections.abc import Iterable, Sequence
from textwrap import wrap

from bench.document import DOCUMENT as DOCUMENT
from bench.document import fill, filled, marks
from bench.peers.figures import Figures, Row

LINE = 148
BEGIN, END = marks("peers")


def write(figures: Figures) -> None:
    """Write the tables into the document."""
    fill("peers", tables(figures))


def written(text: str, figures: Figures) -> str:
    """Return the document with the tables of these figures. Raises ValueError if it lacks the marks."""
    return filled(text, "peers", tables(figures))


def tables(figures: Figures) -> str:
    """Return the tables as Markdown."""
    parts = [
        f"{figures.cores} cores, Python {figures.python}; {_versions(figures)}.",
        "p50 / p99 of one decision, microseconds:",
        _table("in process", figures.in_process, "rules read in, s"),
        _table("as a service, one request at a time", figures.over_wire, "ready, s"),
        _fewer(figures.in_process),
        "\n".join(f"- Not measured: {gap.engine}{_at(gap.rules)}: {gap.why}." for gap in figures.gaps),
        "What each answer is:",
        "\n".join(f"- {engine}: {answer}." for engine, answer in figures.answers.items()),
    ]
    return "\n\n".join(part for part in parts if part)


def _table(title: str, rows: Sequence[Row], load: str) -> str:
    sizes = sorted({row.rules for row in rows})
    if not sizes:
        return ""
    found = {(row.engine, row.rules): row for row in rows}
    lines = [f"| {title} | " + " | ".join(f"{size:,} rules" for size in sizes) + f" | {sizes[-1]:,} {load} |"]
    lines.append("|---|" + "--:|" * (len(sizes) + 1))
    for engine in dict.fromkeys(row.engine for row in rows):
        cells = [_cell(found.get((engine, size))) for size in sizes]
        last = found.get((engine, sizes[-1]))
        lines.append(f"| {engine} | {' | '.join(cells)} | {f'{last.load:.2f}' if last and last.load else '–'} |")
    return "\n".join(lines)


def _cell(row: Row | None) -> str:
    return f"{_short(row.p50)} / {_short(row.p99)}" if row else "–"


def _short(microseconds: float) -> str:
    return f"{microseconds:,.1f}" if microseconds < 100 else f"{microseconds:,.0f}"


def _fewer(rows: Iterable[Row]) -> str:
    """Return a sentence on the engines that got fewer requests, since they were too slow for all."""
    every = list(rows)
    most = max((row.requests for row in every), default=0)
    fewer = [f"{row.engine}{_at(row.rules)} {row.requests:,}" for row in every if row.requests < most]
    said = f"In process each engine gets {most:,} requests a round, {'fewer where it is slow: ' if fewer else ''}"
    line = f"{said}{'; '.join(fewer)}.".replace(", .", ".")
    return "\n".join(wrap(line, LINE)) if every else ""


def _at(rules: int) -> str:
    return f" at {rules:,} rules" if rules else ""


def _versions(figures: Figures) -> str:
    return ", ".join(f"{name} {version}" for name, version in figures.versions.items()) or "no peer"
