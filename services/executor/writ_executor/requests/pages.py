"""Pages of a list: as many items as fit into one reply."""

from collections.abc import Iterable
from typing import TypeVar

from writ_contracts.wire import encode

PAGE_BYTES = 1_000_000
"""Of a reply, as it travels; the server takes 2 MB."""
T = TypeVar("T")


def first_page(items: Iterable[T], most: int | None = None) -> tuple[list[T], bool]:
    """Return the first items, at least one, of at most so many bytes as JSON, and whether there are more."""
    page, size, most = list[T](), 0, PAGE_BYTES if most is None else most
    for item in items:
        size += len(encode(item)) + 1
        if page and size > most:
            return page, True
        page.append(item)
    return page, False
