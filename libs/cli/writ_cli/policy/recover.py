"""`writ policy recover`: put a policy in force where the one in force lets nobody do so."""

import os
import time
from pathlib import Path

import click
import msgspec
from rich.text import Text

from writ_cli.arguments.options import asking
from writ_cli.context.settings import Settings
from writ_cli.policy.files import FILE, MODE, text_of
from writ_cli.terminal.exit_status import Exit
from writ_contracts.errors import Invalid, TimedOut, Unreachable
from writ_documents.readers import read_principals
from writ_installation.administration import policy_recovery
from writ_rules.analysis.lockout import lockouts
from writ_rules.loading import Mode
from writ_rules.setting import read_policy
from writ_runtime.plugins.entry_points import load_catalogue


@click.command()
@click.argument("file", type=FILE)
@click.option("--reason", "-r", required=True, help="Why, for the record.")
@MODE
@asking
async def recover(settings: Settings, file: Path, reason: str, mode: Mode) -> int:
    """Put a policy in force although nobody may publish, or policy cannot start.

    For an installation locked by its own policy, also while Writ is down: such as after an upgrade or a restore, if
    the version in force does not load any more. Needs the policy service's key in WRIT_HOME.
    FILE takes the place of the installation's policy file, becomes the next version, and is on record with the reason.
    Otherwise use `writ policy publish`.
    """
    home = settings.home
    if not home.seed_file("policy").exists():
        raise Invalid(f"{home.seed_file('policy')} is not here: recover on the host of the installation, as its owner")
    document, source = text_of(file), read_policy(file, load_catalogue(), mode)
    if found := lockouts(source.policy, read_principals(home.principals).principals, time.time()):
        raise Invalid(f"{file} would lock this installation, too: {found[0].text}", code="invalid_document")
    known = await _versions(settings)
    url = os.environ.get("NATS_URL") or None
    done = await policy_recovery.recover(home, document, reason, url, _show_line, known=known)
    if settings.screen.json:
        settings.screen.data(msgspec.to_builtins(done))
    else:
        now = " is in force; `writ policy history` shows it"
        later = " is stored. It is in force, and on record, once policy has started: `writ up`, or restart policy"
        settings.screen.line(Text(f"version {done.number}", style="bold"), now if done.recorded else later)
    return Exit.DONE


async def _versions(settings: Settings) -> tuple[int, int] | None:
    """Return the numbers of the version in force and of the last one stored, or None if policy does not reply: it does
    not start with a version in force that it cannot load.
    """
    try:
        async with await settings.connect() as writ:
            status = await writ.policy_status()
    except (Unreachable, TimedOut):
        return None
    return (0 if status.version is None else status.version.number), status.stored


def _show_line(line: str) -> None:
    click.echo(f"writ: {line}", err=True)
