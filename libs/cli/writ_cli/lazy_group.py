"""A group of subcommands whose modules are loaded on first use, so that the others start fast."""

from importlib import import_module

import click


class LazyGroup(click.Group):
    """`place` is `module:group`; the group there has the subcommands, this one its name and help."""

    def __init__(self, name: str, place: str, text: str) -> None:
        super().__init__(name=name, help=text)
        self._module, _, self._group = place.partition(":")

    def list_commands(self, ctx: click.Context) -> list[str]:
        return self._loaded().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self._loaded().get_command(ctx, cmd_name)

    def _loaded(self) -> click.Group:
        group: click.Group = getattr(import_module(self._module), self._group)
        return group
