"""Suggestions for a misspelt target, principal or operation on the command line.

Names of operations are public. Those of targets and principals come from what the user may read: the files of the
installation's folder, or else the running installation's list of targets for this principal. Services suggest no names,
since not everybody may know them. Every command imports this module, and few need the catalogue and the lists: these
are imported when a name is searched.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from writ_cli.arguments import completion
from writ_cli.arguments.usual_names import usual_operation
from writ_cli.context.settings import Settings
from writ_contracts.errors import ConfigError, Invalid, Untrusted
from writ_contracts.inventory import Target
from writ_contracts.nearest_name import SUGGESTED, near
from writ_documents.document import FileErrors

_QUOTED = re.compile(r"(?<! tag )(?<! role )'([^']+)'")
"""The unknown name. Tags and roles of targets are of another kind than the names that are compared here."""


def inventory_targets(settings: Settings) -> list[str] | None:
    """Return the names of the targets of the installation's files, as `inventory_entries` does."""
    entries = inventory_entries(settings)
    return None if entries is None else [one.id for one in entries]


def inventory_entries(settings: Settings) -> list[Target] | None:
    """Return the targets of the installation's files; None if they are of another server, or not usable."""
    if settings.context is not None or settings.environ.get("NATS_URL"):
        return None
    from writ_documents.readers import read_inventory  # noqa: PLC0415 - see the module

    try:
        return read_inventory(settings.home.inventory).targets
    except (ConfigError, FileErrors, OSError):  # the last good inventory is in force, or others alone may read it
        return None


def inventory_has_mistakes(settings: Settings) -> bool:
    """Return whether the inventory of the installation here has mistakes, so that a running Writ does not use it."""
    if settings.context is not None or settings.environ.get("NATS_URL"):
        return False
    from writ_documents.readers import read_inventory  # noqa: PLC0415 - see the module

    try:
        read_inventory(settings.home.inventory)
    except FileErrors:
        return True
    except (ConfigError, OSError):  # of another installation, or others alone may read it
        return False
    return False


async def _targets(settings: Settings) -> Iterable[str]:
    if (known := inventory_targets(settings)) is not None:
        return known
    async with await settings.connect() as writ:
        return [one.id for one in await writ.targets()]


async def _principals(settings: Settings) -> Iterable[str]:
    from writ_documents.readers import read_principals  # noqa: PLC0415 - see the module

    return [one.id for one in read_principals(settings.home.principals).principals]


async def _operations(_: Settings) -> Iterable[str]:
    from writ_runtime.plugins.entry_points import load_catalogue  # noqa: PLC0415 - see the module

    return load_catalogue()


_KNOWN: dict[str, Callable[[Settings], Awaitable[Iterable[str]]]] = {
    "unknown_target": _targets,
    "unknown_principal": _principals,
    "no_principal": _principals,
    "unknown_operation": _operations,
}


_LISTS = {
    "unknown_target": "writ target list",
    "unknown_principal": "writ principal list",
    "no_principal": "writ principal list",
    "unknown_operation": "writ operations",
}


async def suggestion(settings: Settings, code: str | None, message: str) -> str:
    """Return `; did you mean '…'?` for the quoted name in a message; nothing without a similar name.

    A principal who lists only what rules reach (ADR 86) is refused a target that the file has.
    """
    quoted = _QUOTED.search(message)
    if code not in _KNOWN or quoted is None or SUGGESTED in message:
        return ""
    try:
        known = await asyncio.wait_for(_KNOWN[code](settings), completion.PATIENCE)
    except completion.TROUBLE:  # the message says enough without it
        return ""
    names = list(known)
    if quoted[1] not in names:
        similar = usual_operation if code == "unknown_operation" else near
        return similar(quoted[1], names) or ("" if "`writ " in message else f"; `{_LISTS[code]}` lists them")
    return "; the file has it, so perhaps no rule reaches it for this principal" if code == "unknown_target" else ""


async def with_suggestion(work: Coroutine[Any, Any, int | None], settings: Settings) -> int | None:
    """Run a subcommand, and add a suggestion to its message about an unknown name."""
    try:
        return await work
    except (Invalid, Untrusted) as error:  # services refuse an unknown principal as untrusted
        hint = await suggestion(settings, error.code, str(error))
        kind = Invalid if _names_another(settings, error) else type(error)
        if not hint and kind is type(error):
            raise
        raise kind(f"{error}{hint}", code=error.code) from error


def _names_another(settings: Settings, error: Invalid | Untrusted) -> bool:
    """Return whether the unknown principal is one that the command names, and not the one that requests."""
    quoted = _QUOTED.search(str(error))
    if error.code != "unknown_principal" or quoted is None:
        return False
    try:
        return quoted[1] != settings.who()
    except Invalid:  # the command names a principal, and nothing else says who requests
        return True
