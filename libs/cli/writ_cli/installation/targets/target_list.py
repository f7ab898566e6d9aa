"""`writ target list`: the targets with their agents, or those of the inventory while policy does not reply."""

import click

from writ_cli.arguments.options import asking, listing
from writ_cli.arguments.suggestions import inventory_entries, inventory_has_mistakes
from writ_cli.context.settings import Settings
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output import visible
from writ_contracts.errors import Unreachable
from writ_contracts.requests import TargetView


@click.command("list")
@listing(asking)
async def list_targets(settings: Settings) -> int:
    """List the targets, their operations, and their agents.

    An operation is listed if an agent offers it for the target; `writ target test` shows what it lacks there.

    While policy does not reply, nobody gets this list. On the host of the installation the command then lists the
    targets of its inventory, without operations and agents; exit status 6.
    """
    status = Exit.DONE
    try:
        async with await settings.connect() as writ:
            found = await writ.targets()
    except Unreachable as error:
        if error.code != "policy_silent" or (in_file := inventory_entries(settings)) is None:
            raise
        click.echo(visible(f"writ: {error}. These are the targets of {settings.home.inventory}"), err=True)
        found = [
            TargetView(id=one.id, role=one.role, backend=one.backend, pool=one.pool, tags=one.tags) for one in in_file
        ]
        status = Exit.UNREACHABLE
    if settings.screen.json:
        settings.screen.data(found)
    else:
        rows = ((one.id, one.role, one.backend, one.pool, one.agents, one.tags, len(one.operations)) for one in found)
        settings.screen.table(
            ("target", "role", "backend", "pool", "agents", "tags", "operations"),
            rows,
            drop=("tags", "backend", "operations", "agents", ("role", "pool")),
        )
        if inventory_has_mistakes(settings):
            text = f"{settings.home.inventory} has mistakes, so its last good version is in force: `writ status`"
            click.echo(f"writ: {text}", err=True)
        if not found:
            click.echo(visible(f"writ: {_why_none(settings)}"), err=True)
    return status


def _why_none(settings: Settings) -> str:
    if inventory_entries(settings) == []:
        return f"{settings.home.inventory} has no target: `writ target add` adds one"
    return f"there is no target that {settings.who()} may list: some rule has to reach one"
