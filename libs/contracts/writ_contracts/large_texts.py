"""The large texts of parameters and outputs, such as the content of a file: what is worth not sending twice.

Beside a message they follow one another as UTF-8; the message has the name and the size in bytes of each.
"""

from collections.abc import Collection, Mapping
from typing import Any

from msgspec import Raw, json

from writ_contracts.errors import Invalid

LARGE = 65_536
"""Characters from which on a text is large."""


def large_texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in values.items() if isinstance(value, str) and len(value) >= LARGE}


def written_texts(values: Mapping[str, Any]) -> dict[str, Raw]:
    """Return the large texts as JSON, by name: in place of the texts they are encoded once for all messages."""
    return {name: Raw(json.encode(text)) for name, text in large_texts(values).items()}


def without_large_texts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the other values by name."""
    return {name: value for name, value in values.items() if not isinstance(value, str) or len(value) < LARGE}


def texts_as_bytes(values: Mapping[str, Any]) -> tuple[list[tuple[str, int]], bytes]:
    """Return names and sizes of the large texts, and their bytes one after the other. Raises UnicodeEncodeError."""
    parts = [(name, text.encode()) for name, text in large_texts(values).items()]
    return [(name, len(part)) for name, part in parts], b"".join(part for _, part in parts)


def texts_of_bytes(sizes: Collection[tuple[str, int]], data: bytes, others: Collection[str]) -> dict[str, str]:
    """Return the texts by name. `others`: the names of the values beside them. Raises Invalid."""
    check_sizes(sizes, data, others)
    texts, start = {}, 0
    try:
        for name, size in sizes:
            texts[name] = str(memoryview(data)[start : start + size], "utf-8")
            start += size
    except UnicodeDecodeError:
        raise Invalid("a text that is not UTF-8") from None
    return texts


def check_sizes(sizes: Collection[tuple[str, int]], data: bytes, others: Collection[str]) -> None:
    """Raises Invalid unless these sizes are those of all the bytes, and each name occurs once."""
    names = [name for name, _ in sizes]
    if any(size < 0 for _, size in sizes) or len({*names, *others}) < len(names) + len(others):
        raise Invalid("a text that is named twice, or has no size")
    if sum(size for _, size in sizes) != len(data):
        raise Invalid("texts of another size")
