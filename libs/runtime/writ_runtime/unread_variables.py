"""Environment variables that look like Writ's and that nothing reads, with the name that was meant.

A setting with the wrong prefix or a misspelt name has no effect, which nobody notices until it matters.
"""

from collections.abc import Mapping
from difflib import get_close_matches

from writ_contracts.nearest_name import did_you_mean
from writ_runtime.variable_names import OF_SERVICES

PREFIXES = ("WRIT_", "SYSTEMMANAGER_")
OF_COMMANDS = (
    "WRIT_CONTEXT",
    "WRIT_DEBUG",
    "WRIT_GID",
    "WRIT_NATS_2_PORT",
    "WRIT_NATS_3_PORT",
    "WRIT_NATS_CLIENT",
    "WRIT_NATS_LISTEN",
    "WRIT_NATS_PORT",
    "WRIT_NATS_URL",
    "WRIT_PRINCIPAL",
    "WRIT_SERVICES",
    "WRIT_SESSIONS",
    "WRIT_SSH_KEY",
    "WRIT_UID",
)
"""The variables of the command, of compose and of images; those of services are in their configuration structs."""
LIKENESS = 0.75
"""At least this much of a name, of 1, must be like a known one: a plugin may have variables of its own."""

_KNOWN = {*OF_SERVICES, *OF_COMMANDS}
_BY_REST = {name.removeprefix(prefix): name for prefix in PREFIXES for name in _KNOWN if name.startswith(prefix)}


def unread_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each variable that is not read and whose name is like a known one. Values are not shown; an
    empty one counts as unset, as everywhere.
    """
    names = sorted(name for name, value in environ.items() if value and name.startswith(PREFIXES))
    found = {name: _meant(name) for name in names if name not in _KNOWN}
    return [f"{name} is not read{did_you_mean([meant])}" for name, meant in found.items() if meant]


def _meant(name: str) -> str | None:
    rest = next(name.removeprefix(prefix) for prefix in PREFIXES if name.startswith(prefix))
    nearest = get_close_matches(rest, _BY_REST, n=1, cutoff=LIKENESS)
    return _BY_REST[nearest[0]] if nearest else None
