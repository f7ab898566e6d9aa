"""Refuses options that click itself would drop without a word: one that is given twice where only one value counts,
and one in the place of another one's value.

`writ run OPERATION -t A -t B` would act on B alone.
"""

from collections.abc import Iterator, Sequence

import click

from writ_cli.arguments.context_group import ContextGroup
from writ_cli.arguments.swallowed_options import refuse_swallowed


def refuse_lost_options(command: click.Command, name: str, words: Sequence[str], parent: click.Context | None) -> None:
    """Check the words after a command's name, those of its subcommands included. Raises UsageError."""
    with click.Context(command, parent=parent, info_name=name, **command.context_settings) as context:
        completed_words = command.completed(words) if isinstance(command, ContextGroup) else list(words)
        refuse_swallowed(context, completed_words)
        _, rest, order = command.make_parser(context).parse_args(completed_words)
        for option in _repeated(order):
            raise click.UsageError(f"{option.opts[0]} is given more than once, and only one value counts", context)
        if isinstance(command, click.Group) and rest:
            inner = command.get_command(context, rest[0])
            if inner is not None:
                refuse_lost_options(inner, rest[0], rest[1:], context)


def _repeated(order: Sequence[click.Parameter]) -> Iterator[click.Option]:
    """Yield the options whose earlier value the parser has overwritten; a repeated plain flag is the same."""
    options = [one for one in order if isinstance(one, click.Option)]
    for option in dict.fromkeys(options):
        adds_up = option.multiple or option.count or (option.is_flag and not option.secondary_opts)
        if options.count(option) > 1 and not adds_up:
            yield option
