"""The secret texts of a task: no message may show them, although the engine may repeat them in its own."""

from collections.abc import Iterator, Mapping
from typing import Any

from writ_agent.backends.port import Task
from writ_contracts.parameters import hidden

SHORTEST = 4
"""Shorter ones would be found in any text."""


def secret_values(task: Task) -> list[str]:
    """Return every text in the non-public parameters, also within lists and mappings."""
    names = hidden(task.operation.parameters, task.parameters)
    return [text for name in names for text in _texts(task.parameters[name]) if len(text) >= SHORTEST]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
