"""`writ down` and `writ restart`: the processes of `writ up` in `$WRIT_HOME`."""

import click

from writ_cli.arguments import completion
from writ_cli.arguments.options import local
from writ_cli.context.settings import Settings
from writ_cli.terminal.exit_status import Exit
from writ_installation.status import control


@click.command()
@local
async def down(settings: Settings) -> int:
    """Stop the processes of `writ up`; return when each has ended."""
    stopped = await control.down(settings.home)
    if settings.screen.json:
        settings.screen.data({"state": "down"})
    else:
        settings.screen.line(f"Writ is {'down' if stopped else 'not running'} on {settings.home.root}")
    return Exit.DONE


@click.command()
@click.argument("processes", nargs=-1, metavar="[PROCESS]...", shell_complete=completion.processes)
@local
async def restart(settings: Settings, processes: tuple[str, ...]) -> int:
    """Restart the processes of `writ up` here, one after the other, each ready again before the next.

    Without names, all but `nats`. Under load nothing is lost: a process finishes its work or hands it back.
    """
    pids: dict[str, int] = {}
    for name in control.to_restart(settings.home, processes):
        pids[name] = await control.restart(settings.home, name)
        if not settings.screen.json:
            settings.screen.line(f"{name} is ready again (process {pids[name]})")
    if settings.screen.json:
        settings.screen.data(pids)
    return Exit.DONE
