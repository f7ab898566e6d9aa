"""Options of a subcommand that stand before it, such as `writ --home FOLDER up`: the message shows the right order."""

import shlex
from collections.abc import Sequence

import click
from click.exceptions import NoSuchOption

from writ_cli.arguments.context_group import ContextGroup


def misplaced(error: NoSuchOption, context: click.Context, words: Sequence[str]) -> NoSuchOption:
    """Return the error with the command line that is meant, if the subcommand has the option; else the error itself."""
    command, path, moved, rest = named_command(context, words)
    option = error.option_name
    if isinstance(command, click.Group) or not _has(command, option):
        return error
    if not any(word.startswith(option) for word in moved):
        return error
    meant = shlex.join([*path, *moved]) + (" …" if rest else "")
    return NoSuchOption(option, f"No such option {option!r} before the command: write `{meant}`", ctx=error.ctx)


def named_command(
    context: click.Context, words: Sequence[str]
) -> tuple[click.Command, list[str], list[str], list[str]]:
    """Return the command that the words name, its path, the words before its last name, and those behind it."""
    command = context.command
    path, moved = [context.info_name or "writ"], list[str]()
    rest = list(words)
    while rest and isinstance(command, click.Group):
        word = rest.pop(0)
        inner = None if word.startswith("-") else command.get_command(context, word)
        if inner is None:
            moved.append(word)
        else:
            command, path = inner, [*path, word]
    if isinstance(command, ContextGroup):
        command = command.get_command(context, "show") or command
    return command, path, moved, rest


def _has(command: click.Command, option: str) -> bool:
    return any(option in (*one.opts, *one.secondary_opts) for one in command.params)
