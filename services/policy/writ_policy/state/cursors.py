"""Cursors of lists whose latest entry comes first: the moment and id of the last entry of a page."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from writ_contracts.errors import Invalid


class Dated(Protocol):
    """An entry with a unique id, in a list by the moment (Unix seconds) since when it is there."""

    @property
    def id(self) -> str: ...
    @property
    def since(self) -> float: ...


T = TypeVar("T", bound=Dated)


def latest_first(entries: Iterable[T], after: str = "") -> list[T]:
    """Return the entries that come after the cursor, of all for "". An entry that is added or ends meanwhile moves no
    other one. Raises Invalid for a text that is no cursor.
    """
    ordered = sorted(entries, key=_place, reverse=True)
    if not after:
        return ordered
    last = _parse(after)
    return [one for one in ordered if _place(one) < last]


def cursor(last: Dated) -> str:
    """Return the cursor after this entry."""
    return f"{last.since!r} {last.id}"


def _place(one: Dated) -> tuple[float, str]:
    return one.since, one.id


def _parse(text: str) -> tuple[float, str]:
    since, _, identity = text.partition(" ")
    try:
        return float(since), identity
    except ValueError as error:
        raise Invalid("after: not the `last` of a reply") from error
