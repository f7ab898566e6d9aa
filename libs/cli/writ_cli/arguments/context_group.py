"""The group `writ context`, in which a principal stands for a subcommand."""

from collections.abc import Sequence

import click

from writ_cli.arguments.command_group import CommandGroup


class ContextGroup(CommandGroup):
    """A group for which the name of a principal, or nothing, stands for `show`."""

    def completed(self, words: Sequence[str]) -> list[str]:
        """Return the words with the subcommand that they mean."""
        if words and (words[0] in self.commands or words[0] in ("-h", "--help")):
            return list(words)
        return ["show", *words]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as a group does."""
        return super().parse_args(ctx, self.completed(args))
