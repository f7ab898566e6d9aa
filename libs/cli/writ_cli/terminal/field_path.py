"""Selection of a part of a result, for `--field`: names and numbers with dots between, `*` for each."""

from collections.abc import Iterator
from typing import Any

from writ_contracts.errors import Invalid
from writ_contracts.nearest_name import near

MOST_SHOWN = 12


def select(value: Any, path: str) -> list[Any]:
    """Return the values at the path: one, or with `*` one for each. `value`: plain data, as of JSON. Raises Invalid for
    a path that leads nowhere, with the names that there are.
    """
    return list(_walk(value, path.split("."), ()))


def _walk(value: Any, steps: list[str], before: tuple[str, ...]) -> Iterator[Any]:
    if not steps:
        yield value
        return
    step, rest = steps[0], steps[1:]
    if step == "*" and isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _walk(part, rest, (*before, step))
        return
    yield from _walk(_part(value, step, before), rest, (*before, step))


def _part(value: Any, step: str, before: tuple[str, ...]) -> Any:
    where = ".".join(before) or "the result"
    match value:
        case dict():
            if step in value:
                return value[step]
            names = [str(name) for name in value]
            raise Invalid(f"{where} has no field {step!r}: it has {_listed(names)}{near(step, names)}")
        case list():
            if step.isdecimal() and int(step) < len(value):
                return value[int(step)]
            raise Invalid(
                f"{where} is a list of {len(value)}: {step!r} is neither `*` nor the number of an item from 0"
            )
        case _:
            raise Invalid(f"{where} has no fields, so no {step!r}")


def _listed(names: list[str]) -> str:
    if not names:
        return "none"
    return ", ".join(names[:MOST_SHOWN]) + (", …" if len(names) > MOST_SHOWN else "")
