"""Unix times of a result in ISO 8601, beside the numbers. Pure."""

from typing import Any

import msgspec

from writ_cli.terminal import times
from writ_cli.terminal.item_tables import is_moment

EVENT = "body"
OF_OTHERS = frozenset(("parameters", "effective", "output", "details", "schema"))
"""Values of requesters and hosts."""
AS_WRITTEN = OF_OTHERS | {EVENT, "payload"}
"""Those, and what is signed or recorded: it stays as it is, byte for byte."""


def with_times(value: Any) -> Any:
    """Return plain data with each Unix time in ISO 8601 too, under `…_iso`. Text of requesters and hosts, events, and
    signed bytes stay as they are: the times of an event's `body` are in `body_iso`, under the same names.
    """
    return _beside(msgspec.json.decode(msgspec.json.encode(value)))  # `to_builtins` knows no signed payload (Raw)


def _beside(value: Any) -> Any:
    if isinstance(value, list):
        return [_beside(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = dict[str, Any]()
    for key, item in value.items():
        found[key] = item if key in AS_WRITTEN else _beside(item)
        if is_moment(key, item):
            found.setdefault(f"{key}_iso", times.iso(item))
        elif key == EVENT and (inner := _times_in(item)):
            found.setdefault(f"{key}_iso", inner)
    return found


def _times_in(value: Any) -> Any:
    """Return the times alone, each in its place; None where there are none."""
    if isinstance(value, list):
        items = [_times_in(item) for item in value]
        return [item or {} for item in items] if any(items) else None
    if not isinstance(value, dict):
        return None
    found = {
        key: times.iso(item) if is_moment(key, item) else _times_in(item)
        for key, item in value.items()
        if key not in OF_OTHERS
    }
    return {key: item for key, item in found.items() if item} or None
