"""Options on the command line that would have no effect: each is refused, since a dropped one looks obeyed.

A default, or a variable of the environment, may stay without effect.
"""

from collections.abc import Iterable

import click
from click.core import ParameterSource


def typed(names: Iterable[str] | None = None) -> list[click.Option]:
    """Return the options of the present command that are on the command line; those of these `names`, if given."""
    context = click.get_current_context()
    return [
        one
        for one in context.command.params
        if isinstance(one, click.Option)
        and (names is None or one.name in names)
        and context.get_parameter_source(str(one.name)) is ParameterSource.COMMANDLINE
    ]


def spelled(options: Iterable[click.Option]) -> str:
    """Return their long names, in one text."""
    return ", ".join(max(one.opts, key=len) for one in options)


def refuse_typed(names: Iterable[str], reason: str) -> None:
    """Raises UsageError for those of the options that are on the command line, with the reason behind their names."""
    if found := typed(names):
        raise click.UsageError(f"{spelled(found)}: {reason}")
