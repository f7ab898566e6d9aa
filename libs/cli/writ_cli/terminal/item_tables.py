"""Lists of mappings in an output, such as packages or network interfaces, as tables. Pure."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from writ_cli.terminal import times

EARLIEST, LATEST = 1e9, 1e11
"""Unix seconds. Other numbers are periods, or no times of an installation."""
_digest = re.compile(r"((?:sha256:)?[0-9a-f]{12})[0-9a-f]{52}").fullmatch


def is_table(value: object) -> bool:
    """Return whether a value is a list of mappings, which a table shows."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def columns_of(items: Sequence[dict[str, Any]]) -> list[str]:
    """Return the keys with a value in some item, those of names first."""
    keys = dict.fromkeys(key for item in items for key, value in item.items() if value not in (None, "", [], {}))
    return sorted(keys, key=lambda key: key != "name" and not key.endswith(("_name", "_id")))


def cell(key: str, value: object) -> str:
    """Return a value in a cell: times as dates, lists with commas, the values of an inner mapping with spaces."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, str):
        return value or ""
    if is_moment(key, value):
        return times.date(float(str(value)))
    if isinstance(value, list):
        return ", ".join(cell("", item) for item in value)
    if isinstance(value, dict):
        return " ".join(text for name, item in value.items() if (text := cell(name, item)))
    return msgspec.json.encode(value).decode()


def shortened_digest(text: str) -> str:
    """Return the beginning of a SHA-256, such as the id of a container; any other text as it is."""
    found = _digest(text)
    return f"{found[1]}…" if found else text


def is_moment(key: str, value: object) -> bool:
    """Return whether a number of this name is a time in Unix seconds."""
    return times.is_time_field(key) and isinstance(value, int | float) and EARLIEST <= value <= LATEST
