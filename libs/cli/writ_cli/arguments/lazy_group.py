"""A group whose subcommands are loaded on first use, so that each command imports only what it needs."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click
from click.exceptions import NoSuchCommand

from writ_cli.arguments.command_group import CommandGroup
from writ_cli.arguments.usual_names import MeantCommand
from writ_cli.rare_collections import rare_collections


class LazyGroup(CommandGroup):
    """`places` has the `module:command` of each subcommand by its name, in the order of their use."""

    def __init__(self, name: str | None = None, *, places: Mapping[str, str], **settings: Any) -> None:
        super().__init__(name, **settings)
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all subcommands, and load none."""
        return [*self._places]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one subcommand; None for an unknown name."""
        module, _, attribute = self._places.get(cmd_name, "").partition(":")
        if not module:
            return None
        with rare_collections():
            command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve as a group does. Raises NoSuchCommand, which names the most similar subcommand."""
        try:
            return super().resolve_command(ctx, args)
        except MeantCommand:
            raise
        except NoSuchCommand as error:  # click itself looks among loaded commands
            raise NoSuchCommand(error.command_name, possibilities=self.list_commands(ctx), ctx=ctx) from None
