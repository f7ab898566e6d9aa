"""The group `writ policy` with all of its subcommands."""

import click

from writ_cli.policy import (
    diff,
    evaluate,
    explain,
    init,
    permissions,
    recover,
    simulate,
    test_suites,
    validate,
    versions,
)


class InOrder(click.Group):
    """Tells its subcommands in the order in which one needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As they were added."""
        return list(self.commands)


@click.group(cls=InOrder)
def policy() -> None:
    """What the policy says."""


for command in (
    init.init,
    validate.validate,
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
