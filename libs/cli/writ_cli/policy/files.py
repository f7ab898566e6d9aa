"""Files for decisions without a server: their options and readers.

Inventory and principals are those of `$WRIT_HOME` unless others are named.
"""

import functools
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
from msgspec import Struct

from writ_cli.arguments.typed_options import refuse_typed
from writ_cli.context.settings import Settings
from writ_cli.policy.offline_policy import OfflinePolicy
from writ_client.queries.policy_queries import PolicyQueries
from writ_client.whole_ids import beginnings, with_whole_ids
from writ_contracts.errors import Invalid, Unreachable
from writ_contracts.operations import Catalogue
from writ_rules.loading import Mode
from writ_rules.setting import Setting, read_policy, read_setting
from writ_runtime.plugins.entry_points import load_catalogue
from writ_runtime.signals import interruptible

Command = Callable[..., Any]
FILE = click.Path(dir_okay=False, path_type=Path)
STDIN = Path("-")

POLICY = click.option(
    "--policy", "policy_file", type=FILE, metavar="FILE", help="Use this policy file, without a server."
)
INVENTORY = click.option("--inventory", type=FILE, metavar="FILE", help="The targets; by default those of WRIT_HOME.")
PRINCIPALS = click.option(
    "--principals", type=FILE, metavar="FILE", help="The principals; by default those of WRIT_HOME."
)
MODE = click.option(
    "--mode",
    envvar="SYSTEMMANAGER_POLICY_MODE",
    type=click.Choice(["strict", "permissive"]),
    default="strict",
    show_default=True,
    help="strict: lint findings refuse a policy; permissive: errors alone do.",
)

RUNNING = click.option(
    "--running",
    is_flag=True,
    help="Use the running Writ: its operations, policy, targets and principals.",
)


class PolicyFiles(Struct, frozen=True, kw_only=True):
    """The files of the options."""

    policy: Path
    inventory: Path | None
    principals: Path | None
    mode: Mode


def offline(command: Command) -> Command:
    """Add the four options to a command, which gets them as the argument `files`."""

    @functools.wraps(command)
    def with_files(
        *, policy_file: Path | None, inventory: Path | None, principals: Path | None, mode: Mode, **options: Any
    ) -> Any:
        return command(files=_named(policy_file, inventory, principals, mode), **options)

    made: Command = with_files
    for option in (MODE, PRINCIPALS, INVENTORY, POLICY):
        made = option(made)
    return made


def _named(policy_file: Path | None, inventory: Path | None, principals: Path | None, mode: Mode) -> PolicyFiles | None:
    """Return the files, if a policy is among them. Raises UsageError where the others stand alone."""
    if policy_file is not None:
        return PolicyFiles(policy=policy_file, inventory=inventory, principals=principals, mode=mode)
    if inventory is not None or principals is not None:
        raise click.UsageError("--inventory and --principals go with --policy; without it the running Writ answers")
    refuse_typed(("mode",), "it goes with --policy; the running Writ has its own")
    return None


@asynccontextmanager
async def answering(settings: Settings, files: PolicyFiles | None) -> AsyncIterator[OfflinePolicy | PolicyQueries]:
    """Yield the source of decisions: the files, or without them the running Writ, as the present principal."""
    if files is not None:
        yield OfflinePolicy(read(settings, files), _asker(settings))
        return
    try:
        connected = await settings.connect()
    except (Invalid, Unreachable) as error:
        raise type(error)(f"{error}; or judge by files: --policy FILE", code=error.code) from error
    async with connected as writ:
        yield writ.policy


async def whole_ids(
    settings: Settings, files: PolicyFiles | None, operation: str, parameters: dict[str, Any]
) -> dict[str, Any]:
    """Return the parameters with whole ids in place of their beginnings, where a running Writ decides."""
    definition = load_catalogue().get(operation)
    if files is not None or not beginnings(definition, parameters):
        return parameters
    async with await settings.connect() as writ:
        return await with_whole_ids(writ, definition, parameters)


def _asker(settings: Settings) -> str | None:
    try:
        return settings.who()
    except Invalid:
        if settings.context is not None:  # what is wrong with it must not look like its absence
            raise
        return None


def read(settings: Settings, files: PolicyFiles) -> Setting:
    """Return the setting of the policy. Raises ConfigError with all mistakes of a file."""
    catalogue = load_catalogue(evaluators=True)
    source = read_policy(files.policy, catalogue, files.mode)
    return among(settings, files, source.policy, catalogue)


def among(settings: Settings, files: PolicyFiles, policy: Any, catalogue: Catalogue) -> Setting:
    """Return the setting of a policy with the targets and principals of the options."""
    inventory = files.inventory or _of_home(settings.home.inventory, "--inventory")
    principals = files.principals or _of_home(settings.home.principals, "--principals")
    return read_setting(policy, catalogue, inventory, principals)


def text_of(path: Path) -> str:
    """Return the content of a file. Raises Invalid for a file that is not text, or cannot be read."""
    try:
        return path.read_text()
    except OSError as error:
        raise Invalid(f"{path}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise Invalid(f"{path}: is not UTF-8") from None


def text_of_stdin() -> str:
    """Return the standard input. Raises Invalid for what is not text."""
    try:
        with interruptible():
            return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise Invalid("standard input: is not UTF-8") from None


def found_among(settings: Settings, inventory: Path | None, principals: Path | None) -> tuple[Path, Path] | None:
    """Return the files of targets and principals, where there are both: as named, else of WRIT_HOME."""
    both = inventory or settings.home.inventory, principals or settings.home.principals
    named = [path for path in (inventory, principals) if path is not None]
    return both if all(path.exists() for path in both) or named else None


def _of_home(path: Path, option: str) -> Path:
    if not path.exists():
        raise Invalid(f"{option} FILE is missing, and there is no {path}")
    return path
