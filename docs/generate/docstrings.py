"""Descriptions from docstrings. Python 3.13 removes their indentation when it compiles them, earlier ones keep it."""

import inspect
from typing import Any


def evened(schema: Any) -> Any:
    """Return the schema with each description as Python 3.13 would have it."""
    if isinstance(schema, list):
        return [evened(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: inspect.cleandoc(value) if key == "description" and isinstance(value, str) else evened(value)
        for key, value in schema.items()
    }
