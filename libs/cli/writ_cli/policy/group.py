"""The group `writ policy` with all of its subcommands."""

import click

from writ_cli.policy import (
    convert,
    diff,
    evaluate,
    explain,
    format_files,
    init,
    permissions,
    recover,
    simulate,
    test_suites,
    validate,
    versions,
)


class OrderedGroup(click.Group):
    """A group that lists its subcommands in the order of their use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=OrderedGroup)
def policy() -> None:
    """Policies: show, test, explain and change them."""


for command in (
    init.init,
    convert.convert,
    validate.validate,
    format_files.format_command,
    test_suites.test,
    evaluate.evaluate,
    explain.explain,
    simulate.simulate,
    permissions.can_i,
    permissions.who_can,
    permissions.allowed,
    diff.diff,
    versions.status,
    versions.publish,
    versions.history,
    versions.show,
    versions.rollback,
    recover.recover,
):
    policy.add_command(command)
