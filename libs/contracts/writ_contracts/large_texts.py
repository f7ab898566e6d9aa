"""The large texts of parameters, such as the content of a file: what is worth not sending twice."""

from collections.abc import Mapping
from typing import Any

from msgspec import Raw, json

LARGE = 65_536
"""Characters from which on a text is large."""


def large_texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the large texts by name."""
    return {name: value for name, value in values.items() if isinstance(value, str) and len(value) >= LARGE}


def written_texts(values: Mapping[str, Any]) -> dict[str, Raw]:
    """Return the large texts as JSON, by name: in place of the texts they are encoded once for all messages."""
    return {name: Raw(json.encode(text)) for name, text in large_texts(values).items()}


def without_large_texts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the other values by name."""
    return {name: value for name, value in values.items() if not isinstance(value, str) or len(value) < LARGE}
