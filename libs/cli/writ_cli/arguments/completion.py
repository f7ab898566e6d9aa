"""`writ completion`: names for a shell to complete, of operations, parameters, targets, principals, and ids.

Each command has options that complete, so each imports this module. Catalogue and lists are imported when a shell needs
them.
Names come from the files of the installation, and ids from the running one. A completion waits at most `PATIENCE`;
after an error it completes nothing, since nobody would see a message.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ShellComplete, ZshComplete

from writ_cli.context.current_context import found_home
from writ_cli.context.settings import Settings
from writ_cli.terminal.output import Screen
from writ_contracts.errors import ConfigError, WritError
from writ_documents.document import FileErrors
from writ_installation.files.home import Home

if TYPE_CHECKING:
    from writ_contracts.operations import Catalogue

PATIENCE = 1.5
SCRIPTS: dict[str, type[ShellComplete]] = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
TROUBLE = (ConfigError, FileErrors, OSError, TimeoutError, WritError)


@click.command()
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> int:
    """Print the script by which SHELL completes commands, operations, parameters, targets, principals and ids.

    \b
    bash   eval "$(writ completion bash)" in ~/.bashrc
    zsh    eval "$(writ completion zsh)" in ~/.zshrc
    fish   writ completion fish | source in ~/.config/fish/config.fish
    """
    click.echo(SCRIPTS[shell](context.find_root().command, {}, "writ", "_WRIT_COMPLETE").source())
    return 0


def operations(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete an operation, with its description."""
    known = _catalogue().values()
    return [CompletionItem(one.name, help=one.summary) for one in known if one.name.startswith(word)]


def parameters(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the `name=` of a parameter of the operation, without those already given."""
    definition = _catalogue().get(str(context.params.get("operation")))
    if definition is None or "=" in word:
        return []
    there = {str(one).partition("=")[0].removesuffix(":") for one in context.params.get("words") or ()}
    names = [name for name in definition.parameters.__struct_fields__ if name not in there]
    return _items((f"{name}=" for name in names), word)


def targets(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete a target of the inventory."""
    return _items(_read(_target_names, context), word)


def principals(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    return _items(_read(_principal_names, context), word)


def open_operations(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the id of an open operation, with the operation and its target."""
    try:
        found = asyncio.run(asyncio.wait_for(_open(_settings(context)), PATIENCE))
    except TROUBLE:
        return []
    return [CompletionItem(name, help=about) for name, about in found if name.startswith(word)]


async def _open(settings: Settings) -> list[tuple[str, str]]:
    async with await settings.connect() as writ:
        return [(view.operation_id, f"{view.operation} on {view.target}") for view in await writ.open_operations()]


def _catalogue() -> "Catalogue":
    from writ_runtime.plugins.entry_points import load_catalogue  # noqa: PLC0415 - see the module

    return load_catalogue()


def _target_names(home: Home) -> list[str]:
    from writ_documents.readers import read_inventory  # noqa: PLC0415 - see the module

    return [one.id for one in read_inventory(home.inventory).targets]


def _principal_names(home: Home) -> list[str]:
    from writ_documents.readers import read_principals  # noqa: PLC0415 - see the module

    return [one.id for one in read_principals(home.principals).principals]


def _items(names: Iterable[str], word: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(word)]


def _read(read: Callable[[Home], list[str]], context: click.Context) -> list[str]:
    try:
        return read(_settings(context).home)
    except TROUBLE:
        return []


def _settings(context: click.Context) -> Settings:
    parameters: dict[str, Any] = context.params
    where = parameters.get("context")
    home = parameters.get("home") or os.environ.get("WRIT_HOME") or found_home(Path.cwd()) or ".writ"
    return Settings(
        screen=Screen("table"),
        home=Home(Path(home)),
        environ=os.environ,
        principal=parameters.get("principal") or os.environ.get("WRIT_PRINCIPAL"),
        context=Path(where) if where else None,
    )
