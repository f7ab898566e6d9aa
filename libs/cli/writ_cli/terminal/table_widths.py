"""Widths of a table's columns: on a narrow terminal columns are dropped, words and ids stay whole. Pure."""

from collections.abc import Sequence

from msgspec import Struct, structs

SPACE = 2
"""Between columns."""
WHOLE = 26
"""Cells up to this length, such as ids, names and times, are not wrapped."""


class ColumnWidth(Struct, frozen=True):
    """A shown column: its index, its width, and whether its cells wrap."""

    index: int
    width: int
    wraps: bool


class _Measured(Struct, frozen=True):
    index: int
    least: int
    most: int


def fitted(
    columns: Sequence[str], rows: Sequence[Sequence[str]], drop: Sequence[str], width: int, *, fold: bool = False
) -> list[ColumnWidth]:
    """Return the columns side by side within the width. `drop`: columns to leave out one after the other, and always if
    empty. `fold`: break a word that is longer than the width, such as a pattern.
    """
    known = [_measured(at, name, [row[at] for row in rows]) for at, name in enumerate(columns)]
    if fold:
        known = [structs.replace(one, least=min(one.least, WHOLE)) if one.least > width else one for one in known]
    kept = [one for one in known if columns[one.index] not in drop or any(row[one.index] for row in rows)]
    for name in drop:
        if _total([one.least for one in kept]) <= width:
            break
        kept = [one for one in kept if columns[one.index] != name]
    return _shared(kept, width)


def _measured(at: int, name: str, cells: Sequence[str]) -> _Measured:
    lengths = map(_least, cells)
    return _Measured(at, max([*lengths, len(name)]), max([*map(len, cells), len(name)]))


def _least(cell: str) -> int:
    """Return the least width of a cell: of a text, its longest word, but a longer one than WHOLE is folded; of a single
    word, such as a key, its length.
    """
    words = cell.split()
    return len(cell) if len(cell) <= WHOLE or len(words) < 2 else min(max(map(len, words)), WHOLE)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + SPACE * max(len(widths) - 1, 0)


def _shared(kept: Sequence[_Measured], width: int) -> list[ColumnWidth]:
    """Give each column its least width, and divide the rest among those that would wrap."""
    left = width - _total([one.least for one in kept])
    widths = {one.index: one.least for one in kept}
    narrow = sorted((one for one in kept if one.most > one.least), key=lambda one: one.most - one.least)
    for at, one in enumerate(narrow):
        more = min(one.most - one.least, max(left, 0) // (len(narrow) - at))
        widths[one.index] += more
        left -= more
    return [ColumnWidth(one.index, widths[one.index], widths[one.index] < one.most) for one in kept]
