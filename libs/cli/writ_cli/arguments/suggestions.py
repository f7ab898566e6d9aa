"""Suggestions for a misspelt target, principal or operation on the command line.

Names of operations are public. Those of targets and principals come from what the user may read: the files of the
installation's folder, or else the running installation's list of targets for this principal. Services suggest no names,
since not everybody may know them.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

from writ_cli.arguments import completion
from writ_cli.context.settings import Settings
from writ_contracts.errors import ConfigError, Invalid, Untrusted
from writ_contracts.inventory import Target
from writ_contracts.nearest_name import near
from writ_documents.document import FileErrors
from writ_documents.readers import read_inventory, read_principals
from writ_runtime.plugins.entry_points import load_catalogue

_QUOTED = re.compile(r"'([^']+)'")
_SUGGESTED = "did you mean"


def inventory_targets(settings: Settings) -> list[str] | None:
    """Return the names of the targets of the installation's files, as `inventory_entries` does."""
    entries = inventory_entries(settings)
    return None if entries is None else [one.id for one in entries]


def inventory_entries(settings: Settings) -> list[Target] | None:
    """Return the targets of the installation's files; None if they are of another server, or not usable."""
    if settings.context is not None or settings.environ.get("NATS_URL"):
        return None
    try:
        return read_inventory(settings.home.inventory).targets
    except (ConfigError, FileErrors, OSError):  # the last good inventory is in force, or others alone may read it
        return None


async def _targets(settings: Settings) -> Iterable[str]:
    if (known := inventory_targets(settings)) is not None:
        return known
    async with await settings.connect() as writ:
        return [one.id for one in await writ.targets()]


async def _principals(settings: Settings) -> Iterable[str]:
    return [one.id for one in read_principals(settings.home.principals).principals]


async def _operations(_: Settings) -> Iterable[str]:
    return load_catalogue()


_KNOWN: dict[str, Callable[[Settings], Awaitable[Iterable[str]]]] = {
    "unknown_target": _targets,
    "unknown_principal": _principals,
    "unknown_operation": _operations,
}


async def suggestion(settings: Settings, code: str | None, message: str) -> str:
    """Return `; did you mean '…'?` for the quoted name in a message; nothing without a similar name.

    A principal who lists only what rules reach (ADR 86) is refused a target that the file has.
    """
    quoted = _QUOTED.search(message)
    if code not in _KNOWN or quoted is None or _SUGGESTED in message:
        return ""
    try:
        known = await asyncio.wait_for(_KNOWN[code](settings), completion.PATIENCE)
    except completion.TROUBLE:  # the message says enough without it
        return ""
    names = list(known)
    if quoted[1] not in names:
        return near(quoted[1], names)
    return "; the file has it, so perhaps no rule reaches it for this principal" if code == "unknown_target" else ""


async def with_suggestion(work: Coroutine[Any, Any, int | None], settings: Settings) -> int | None:
    """Run a subcommand, and add a suggestion to its message about an unknown name."""
    try:
        return await work
    except (Invalid, Untrusted) as error:  # services refuse an unknown principal as untrusted
        hint = await suggestion(settings, error.code, str(error))
        if not hint:
            raise
        raise type(error)(f"{error}{hint}", code=error.code) from error
