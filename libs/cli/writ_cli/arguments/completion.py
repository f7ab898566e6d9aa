"""`writ completion`: names for a shell to complete, of operations, parameters, targets, principals, and ids.

Each command has options that complete, so each imports this module. Catalogue and lists are imported when a shell needs
them. Names come from the files of the installation, and ids from the running one. A completion waits at most
`PATIENCE`. After an error it completes nothing, since nobody would see a message.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from writ_cli.arguments.shell_scripts import SCRIPTS
from writ_cli.context.current_context import ContextFolder, found_home, present_folder
from writ_cli.context.settings import Settings
from writ_cli.terminal.output import Screen, visible
from writ_contracts.errors import ConfigError, WritError
from writ_documents.document import FileErrors
from writ_installation.files.home import Home

if TYPE_CHECKING:
    from writ_client.client import Writ
    from writ_contracts.operations import Catalogue

PATIENCE = 1.5
RECORDED = 50
"""The latest operations whose ids are completed."""
TROUBLE = (ConfigError, FileErrors, OSError, TimeoutError, WritError)


@click.command()
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
@click.pass_context
def completion(context: click.Context, shell: str) -> int:
    """Print the script by which SHELL completes commands, operations, parameters, targets, principals and ids.

    \b
    bash   eval "$(writ completion bash)" in ~/.bashrc
    zsh    eval "$(writ completion zsh)" in ~/.zshrc, below compinit
    fish   writ completion fish | source in ~/.config/fish/config.fish
    """
    click.echo(SCRIPTS[shell](context.find_root().command, {}, "writ", "_WRIT_COMPLETE").source())
    return 0


def operations(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete an operation, with its description."""
    known = catalogue().values()
    return [CompletionItem(one.name, help=one.summary) for one in known if one.name.startswith(word)]


def parameters(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the `name=` of a parameter of the operation, without those already given, or a value of a closed set."""
    definition = catalogue().get(str(context.params.get("operation")))
    if definition is None:
        return []
    if "=" in word:
        from writ_cli.arguments.parameter_types import values_of  # noqa: PLC0415 - see the module

        name = word.partition("=")[0]
        return items((f"{name}={value}" for value in values_of(definition.parameters, name)), word)
    there = {str(one).partition("=")[0].removesuffix(":") for one in context.params.get("words") or ()}
    names = [name for name in definition.parameters.__struct_fields__ if name not in there]
    return items((f"{name}=" for name in names), word)


def targets(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete a target of the inventory."""
    return items(read(_target_names, context), word)


def tags(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete a tag that some target has."""
    return items(read(_tags, context), word)


def principals(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    return items(read(_principal_names, context), word)


def pools(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the pool of some target."""
    return items(read(_pools, context), word)


def roles(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete a role that some principal has."""
    return items(read(_roles, context), word)


def processes(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete a process of `writ up`."""
    return items(read(_processes, context), word)


def parameter_filters(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the `name=` of a parameter of the operations of a search, or of any."""
    known, named = catalogue(), context.params.get("operation") or ()
    among = [known[name] for name in named if name in known] or known.values()
    names = sorted({name for one in among for name in one.parameters.__struct_fields__})
    return [] if "=" in word else items((f"{name}=" for name in names), word)


def contexts(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the name of a saved context."""
    return items(ContextFolder(os.environ).names(), word)


def context_or_file(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete a saved context, or a file."""
    return [*contexts(context, parameter, word), CompletionItem(word, type="file")]


def open_operations(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the id of an open operation, with the operation and its target."""
    return asked(_open, context, word)


def pending_requests(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the id of a request on which the principal may decide, with its requester; one on a command line."""
    return [] if context.params.get(str(parameter.name)) else asked(_pending, context, word)


def readable_requests(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the id of a request whose card the principal may read: those to decide on, and open ones of its own."""
    return asked(_readable, context, word)


def recorded_operations(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the id of one of the latest operations on record, with the operation and its target."""
    return asked(_recorded, context, word)


def runs(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the correlation id of one of the latest operations on record."""
    return asked(_runs, context, word)


def policy_versions(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the number of a version of the policy, with its author and reason."""
    return asked(_versions, context, word)


def stops(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the id of a stop in force, with its reason."""
    return asked(_stops, context, word)


def emergencies(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the id of an emergency in force or to review, with its reason."""
    return asked(_emergencies, context, word)


def windows(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Complete the id of an open approval window, with its requester."""
    return asked(_windows, context, word)


async def _open(writ: "Writ") -> list[tuple[str, str]]:
    return [(view.operation_id, f"{view.operation} on {view.target}") for view in await writ.open_operations()]


async def _pending(writ: "Writ") -> list[tuple[str, str]]:
    pending = await writ.approvals.every_pending()
    return [(one.operation_id, f"{one.principal}: {one.operation} on {one.target}") for one in pending]


async def _readable(writ: "Writ") -> list[tuple[str, str]]:
    return [*await _pending(writ), *await _open(writ)]


async def _recorded(writ: "Writ") -> list[tuple[str, str]]:
    from writ_contracts.history.audit import SearchQuery  # noqa: PLC0415 - see the module

    rows = (await writ.search(SearchQuery(limit=RECORDED))).rows
    return [(row.operation_id, f"{row.operation} on {row.target}") for row in rows]


async def _runs(writ: "Writ") -> list[tuple[str, str]]:
    from writ_contracts.history.audit import SearchQuery  # noqa: PLC0415 - see the module

    rows = (await writ.search(SearchQuery(principal=writ.principal, limit=RECORDED))).rows
    latest = {row.correlation_id: row.operation for row in rows}
    return list(latest.items())


async def _versions(writ: "Writ") -> list[tuple[str, str]]:
    versions = (await writ.policy_history()).versions
    return [(str(one.number), f"{one.author}: {one.reason}") for one in versions]


async def _stops(writ: "Writ") -> list[tuple[str, str]]:
    return [(one.id, one.reason) for one in (await writ.policy_status()).stops]


async def _emergencies(writ: "Writ") -> list[tuple[str, str]]:
    return [(one.id, one.reason) for one in (await writ.policy_status()).emergencies]


async def _windows(writ: "Writ") -> list[tuple[str, str]]:
    return [(one.id, f"of {one.by}") for one in (await writ.policy_status()).windows]


def asked(
    query: Callable[["Writ"], Awaitable[list[tuple[str, str]]]], context: click.Context, word: str
) -> list[CompletionItem]:
    """Return the ids that begin with the word, and what they are, from the running installation."""

    async def found() -> list[tuple[str, str]]:
        async with await _settings(context).connect() as writ:
            return await query(writ)

    try:
        ids = asyncio.run(asyncio.wait_for(found(), PATIENCE))
    except TROUBLE:
        return []
    # Others write reasons, and zsh takes each line of a description for a further name.
    return [CompletionItem(name, help=visible(about)) for name, about in ids if name.startswith(word)]


def catalogue() -> "Catalogue":
    """Return the operations that are installed here."""
    from writ_runtime.plugins.entry_points import load_catalogue  # noqa: PLC0415 - see the module

    return load_catalogue()


def _target_names(home: Home) -> list[str]:
    from writ_documents.readers import read_inventory  # noqa: PLC0415 - see the module

    return [one.id for one in read_inventory(home.inventory).targets]


def _tags(home: Home) -> list[str]:
    from writ_documents.readers import read_inventory  # noqa: PLC0415 - see the module

    return sorted({tag for one in read_inventory(home.inventory).targets for tag in one.tags})


def _pools(home: Home) -> list[str]:
    from writ_documents.readers import read_inventory  # noqa: PLC0415 - see the module

    return sorted({one.pool for one in read_inventory(home.inventory).targets})


def _roles(home: Home) -> list[str]:
    from writ_documents.readers import read_principals  # noqa: PLC0415 - see the module

    return sorted({role for one in read_principals(home.principals).principals for role in one.roles})


def _processes(home: Home) -> list[str]:
    from writ_installation.processes.report import read_report  # noqa: PLC0415 - see the module

    report = read_report(home.report_file)
    return [] if report is None else [one.name for one in report.processes]


def _principal_names(home: Home) -> list[str]:
    from writ_documents.readers import read_principals  # noqa: PLC0415 - see the module

    return [one.id for one in read_principals(home.principals).principals]


def items(names: Iterable[str], word: str) -> list[CompletionItem]:
    """Return the names that begin with the word."""
    return [CompletionItem(name) for name in names if name.startswith(word)]


def read(names: Callable[[Home], list[str]], context: click.Context) -> list[str]:
    """Return the names that the installation's files have, none where they cannot be read."""
    try:
        return names(_settings(context).home)
    except TROUBLE:
        return []


def _settings(context: click.Context) -> Settings:
    parameters: dict[str, Any] = context.params
    where = parameters.get("context")
    home = parameters.get("home") or os.environ.get("WRIT_HOME") or found_home(present_folder()) or ".writ"
    return Settings(
        screen=Screen("table"),
        home=Home(Path(home)),
        environ=os.environ,
        principal=parameters.get("principal") or os.environ.get("WRIT_PRINCIPAL"),
        context=ContextFolder(os.environ).named(Path(where)) if where else None,
    )
