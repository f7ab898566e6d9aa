"""`writ uninstall`: lists all that an installation made on this machine, and removes it."""

import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import click

from writ_cli.arguments.options import local
from writ_cli.context.settings import Settings
from writ_cli.terminal.confirmation import ask
from writ_cli.terminal.exit_status import Exit
from writ_contracts.errors import Conflict
from writ_installation.administration import uninstall as removal
from writ_installation.administration.uninstall import Leftover, UninstallPlan


@click.command("uninstall")
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
@click.option("--records", is_flag=True, help="Also remove the journal, and the keys by which it is verified.")
@click.option("--leave-hosts", is_flag=True, help="Leave the hosts of SSH targets as they are.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@local
async def uninstall(settings: Settings, dry_run: bool, records: bool, leave_hosts: bool, yes: bool) -> int:
    """Remove the installation in the folder, or that of the units in deploy/systemd: list its parts, ask, remove.

    The record stays without --records, and so do archives, backups, and files that are not Writ's. Clean the hosts of
    SSH targets before, with `writ target remove NAME --clean`: their keys are removed here.
    """
    plan = removal.plan(settings.home, records=records, running=dry_run)
    hosts = [] if leave_hosts else removal.ssh_targets(settings.home)
    if dry_run:
        _show(settings, plan, hosts, "would remove")
        return Exit.DONE
    if hosts:
        names = ", ".join(hosts[:10]) + (", …" if len(hosts) > 10 else "")
        raise Conflict(
            f"first `writ target remove NAME --clean` for {names}: their keys go with the installation; "
            "or --leave-hosts"
        )
    if not yes:
        _confirm(settings, plan)
    removed = removal.remove(settings.home, plan)
    done = UninstallPlan(remove=removed.removed, keep=[*removed.kept, *removed.left], by_hand=plan.by_hand)
    _show(settings, done, [], "removed")
    return Exit.FAILED if removed.left else Exit.DONE


def _confirm(settings: Settings, plan: UninstallPlan) -> None:
    """Show the plan and ask. Raises UsageError where nobody can answer, Abort for a no."""
    if not sys.stdin.isatty():
        raise click.UsageError("nothing was removed: `--dry-run` lists the parts, --yes confirms their removal")
    for line in (*_grouped("remove", plan.remove), *_grouped("stays", plan.keep)):
        click.echo(line, err=True)
    ask(f"Remove these {len(plan.remove)} parts of {settings.home.root}?")


def _show(settings: Settings, plan: UninstallPlan, hosts: list[str], verb: str) -> None:
    screen = settings.screen
    if screen.json:
        screen.data({"removed" if verb == "removed" else "remove": plan.remove, "keep": plan.keep,
                     "by_hand": plan.by_hand, "hosts": hosts})  # fmt: skip
        return
    for title, parts in ((verb, plan.remove), ("stays", plan.keep)):
        for line in _grouped(title, parts):
            screen.line(line)
    for name in hosts:
        screen.line(f"host: writ target remove {name} --clean, before")
    for step in plan.by_hand:
        screen.line(f"by hand: {step}")


def _grouped(title: str, parts: list[Leftover]) -> Iterator[str]:
    """Yield a line for each part; one for all that follow each other in a folder with one purpose."""
    for (folder, purpose), group in groupby(parts, key=lambda one: (Path(one.path).parent, one.purpose)):
        paths = [Path(one.path) for one in group]
        if len(paths) == 1:
            yield f"{title}: {paths[0]}  ({purpose})"
        else:
            yield f"{title}: {len(paths)} in {folder}  ({purpose}): {', '.join(path.name for path in paths)}"
