"""The group of a command: its help has the whole first sentence of each subcommand."""

import click
from click.exceptions import NoSuchCommand

from writ_cli.arguments.usual_names import meant

ANY_LENGTH = 10_000


class CommandGroup(click.Group):
    """A group whose list of subcommands wraps, where click cuts each line with an ellipsis."""

    group_class = type
    """Groups within it are of the same kind."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve as a group does. Raises NoSuchCommand, which names our command for a name of another program."""
        try:
            return super().resolve_command(ctx, args)
        except NoSuchCommand as error:
            raise meant(ctx, args, self.list_commands(ctx)) or error from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands, each with its first sentence."""
        named = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, one.get_short_help_str(ANY_LENGTH)) for name, one in named if one is not None and not one.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
