"""Widths of a table's columns: on a narrow terminal columns are stacked or dropped, words and ids stay whole. Pure."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import Struct, structs
from rich.cells import cell_len

T = TypeVar("T")
SPACE = 2
"""Between columns."""
WHOLE = 26
"""Cells up to this length, such as ids, names and times, are not wrapped while there is room."""
NARROWEST = 2
"""Of a column; a wide character takes two columns of the terminal."""


class ColumnWidth(Struct, frozen=True):
    """A shown column: its index, its width, and whether its cells wrap."""

    index: int
    width: int
    wraps: bool


class _Measured(Struct, frozen=True):
    """`listed`, `worded`: the least width if lists wrap after their commas, and if all texts wrap between words.
    `word`: the longest word.
    """

    index: int
    least: int
    listed: int
    worded: int
    word: int
    most: int


def fitted(
    columns: Sequence[str], rows: Sequence[Sequence[str]], drop: Sequence[str], width: int, *, fold: bool = False
) -> list[ColumnWidth]:
    """Return the columns side by side within the width. `drop`: columns to leave out one after the other, and always if
    empty. `fold`: keep within the width what is still too wide: wrap lists, then all texts, then break words.
    """
    kept = _kept(columns, rows, drop, width, fold=fold)
    return _shared(_squeezed(kept, width) if fold else kept, width)


Step = str | tuple[str, str]
"""A way to make a table narrower: a column to leave out, or two to stack in one, the second beneath the first."""


def empty_columns(columns: Sequence[str], rows: Sequence[Sequence[str]], steps: Sequence[Step]) -> set[str]:
    """Return the columns of `steps` that have no cell with text."""
    named = {name for step in steps for name in ((step,) if isinstance(step, str) else step)}
    return {name for at, name in enumerate(columns) if name in named and not any(row[at] for row in rows)}


def to_stack(
    columns: Sequence[str], rows: Sequence[Sequence[str]], steps: Sequence[Step], width: int
) -> list[tuple[str, str]]:
    """Return the pairs of `steps` to stack, in their order, until the table fits. Columns to leave out come before the
    pairs that follow them.
    """
    found, drop = list[tuple[str, str]](), list[str]()
    for step in steps:
        if isinstance(step, str):
            drop.append(step)
            continue
        names, plain = columns, rows
        for pair in found:
            names, plain = stacked_names(names, pair), [stacked(names, row, pair, _joined) for row in plain]
        if _total([one.least for one in _kept(names, plain, drop, width, fold=True)]) <= width:
            break
        found.append(step)
    return found


def stacked_names(columns: Sequence[str], pair: tuple[str, str]) -> list[str]:
    """Return the headings with the second of a pair beneath the first."""
    return stacked(columns, columns, pair, _joined)


def stacked(columns: Sequence[str], row: Sequence[T], pair: tuple[str, str], join: Callable[[T, T], T]) -> list[T]:
    """Return the cells of a row with the second of a pair joined to the first."""
    first, second = (columns.index(name) for name in pair)
    joined = [join(cell, row[second]) if at == first else cell for at, cell in enumerate(row)]
    return [cell for at, cell in enumerate(joined) if at != second]


def _joined(first: str, second: str) -> str:
    return f"{first}\n{second}" if second else first


def _kept(
    columns: Sequence[str], rows: Sequence[Sequence[str]], drop: Sequence[str], width: int, *, fold: bool
) -> list[_Measured]:
    """Return the columns that are not left out. `fold`: none of them takes the whole width alone."""
    known = [_measured(at, name, [row[at] for row in rows]) for at, name in enumerate(columns)]
    if fold:
        known = [_folded(one) if one.least > width else one for one in known]
    kept = [one for one in known if columns[one.index] not in drop or any(row[one.index] for row in rows)]
    for name in drop:
        if _total([one.least for one in kept]) <= width:
            break
        kept = [one for one in kept if columns[one.index] != name]
    return kept


def _measured(at: int, name: str, cells: Sequence[str]) -> _Measured:
    lines = [line for cell in cells for line in cell.split("\n")]
    least, named = [_least(line) for line in lines], max(map(cell_len, name.split("\n")))
    listed = [min(one, _longest_word(line)) if ", " in line else one for one, line in zip(least, lines, strict=True)]
    worded = [min(one, _longest_word(line)) for one, line in zip(least, lines, strict=True)]
    word, most = max(map(_longest_word, lines), default=0), max([*map(cell_len, lines), named])
    return _Measured(at, max([*least, named]), max([*listed, named]), max([*worded, named]), word, most)


def _least(cell: str) -> int:
    """Return the least width of a cell: of a text, its longest word, but a longer one than WHOLE is folded; of a single
    word, such as a key, its length.
    """
    length = cell_len(cell)
    return length if length <= WHOLE or len(cell.split()) < 2 else min(_longest_word(cell), WHOLE)


def _longest_word(cell: str) -> int:
    return max(map(cell_len, cell.split()), default=0)


def _folded(one: _Measured) -> _Measured:
    return structs.replace(
        one, least=min(one.least, WHOLE), listed=min(one.listed, WHOLE), worded=min(one.worded, WHOLE)
    )


def _squeezed(kept: Sequence[_Measured], width: int) -> list[_Measured]:
    """Narrow columns that are together too wide. Rich would cut their texts, and nobody would see that a name in a
    list of targets is missing.
    """
    found = list(kept)
    for narrower in ("listed", "worded"):
        if _total([one.least for one in found]) > width:
            found = [structs.replace(one, least=getattr(one, narrower)) for one in found]
    while _total([one.least for one in found]) > width and max(one.least for one in found) > NARROWEST:
        widest = max(range(len(found)), key=lambda at: found[at].least)
        found[widest] = structs.replace(found[widest], least=found[widest].least - 1)
    return found


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + SPACE * max(len(widths) - 1, 0)


def _shared(kept: Sequence[_Measured], width: int) -> list[ColumnWidth]:
    """Give each column its least width, then as much as its longest word lacks, and divide the rest among those that
    would wrap.
    """
    left = width - _total([one.least for one in kept])
    widths = {one.index: one.least for one in kept}
    for one in sorted(kept, key=lambda one: one.word - one.least):
        if 0 < one.word - one.least <= left:
            widths[one.index] = one.word
            left -= one.word - one.least
    narrow = sorted((one for one in kept if one.most > widths[one.index]), key=lambda one: one.most - one.least)
    for at, one in enumerate(narrow):
        more = min(one.most - widths[one.index], max(left, 0) // (len(narrow) - at))
        widths[one.index] += more
        left -= more
    return [ColumnWidth(one.index, widths[one.index], widths[one.index] < one.most) for one in kept]


def fits_whole(widths: Sequence[ColumnWidth], most: int) -> bool:
    """Return whether columns of these widths fit, and none of them wraps."""
    return not any(one.wraps for one in widths) and sum(one.width + SPACE for one in widths) - SPACE <= most
