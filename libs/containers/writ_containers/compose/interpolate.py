"""`${NAME}` in the values of a Compose file, filled from the request's `env` and nothing else; pure.

Only parsed values are filled in, so no value can add a key, a list item or a line.
Source: compose-spec, 12-interpolation.
"""

import re
from collections.abc import Mapping
from typing import Any

from writ_containers.compose.places import place
from writ_contracts.errors import Invalid

_PART = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<plain>[A-Za-z_][A-Za-z0-9_]*)"
    r"|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<kind>:?[-?+])(?P<word>[^${}]*))?\}|(?P<bad>))"
)
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


def interpolated(value: Any, env: Mapping[str, str], where: str = "compose") -> Any:
    """Return the value with every text in it filled in. Raises Invalid for a variable without a value."""
    match value:
        case str():
            return _PART.sub(lambda found: _filled(found, env, where), value)
        case list():
            return [interpolated(one, env, f"{where}[{at}]") for at, one in enumerate(value)]
        case dict():
            return {name: interpolated(one, env, place(where, name)) for name, one in value.items()}
        case _:
            return value


def _filled(found: re.Match[str], env: Mapping[str, str], where: str) -> str:
    if found["dollar"]:
        return "$"
    name = found["plain"] or found["name"]
    if name is None:
        raise Invalid(
            f"{where}: a $ must be $$, $NAME or ${{NAME}}, with :-, -, :?, ?, :+ or +", code="compose_refused"
        )
    known, kind = env.get(name), found["kind"] or ""
    if kind.startswith(":"):
        known = known or None
    match kind.lstrip(":"):
        case "-":
            return found["word"] if known is None else known
        case "+":
            return "" if known is None else str(found["word"])
    if known is None:
        # Without braces, or in lower case, it may be a part of a password: messages are on record.
        braces = f"${{{name}}}" if _VARIABLE.fullmatch(name) else "a variable (${…})"
        what = braces if found["name"] else "a $ with a name behind it"
        how = "give it in env of the request" + ("" if found["name"] else ", or write $$ for a $")
        raise Invalid(f"{where}: {what} has no value: {how}", code="compose_refused")
    return known
