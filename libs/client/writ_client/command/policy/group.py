"""The group `writ policy` with all of its subcommands."""

import click

from writ_client.command.policy import (
    comparing,
    evaluating,
    explaining,
    permissions,
    simulating,
    starting,
    testing,
    validating,
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
    starting.init,
    validating.validate,
    testing.test,
    evaluating.evaluate,
    explaining.explain,
    simulating.simulate,
    permissions.can_i,
    permissions.who_can,
    permissions.allowed,
    comparing.diff,
    versions.status,
    versions.publish,
    versions.history,
    versions.show,
    versions.rollback,
):
    policy.add_command(command)
