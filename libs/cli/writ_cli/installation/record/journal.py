"""`writ journal`: usage of the journal, archiving, and offline verification of archives."""

import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import click

from writ_cli.arguments.command_group import CommandGroup
from writ_cli.arguments.options import INPUT_FILE, OUTPUT_FILE, asking, local
from writ_cli.context.settings import Settings
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit
from writ_contracts.errors import ConfigError, Invalid
from writ_contracts.history.audit import JournalReply
from writ_contracts.plural import plural
from writ_installation.administration.credentials import CredentialsDirectory
from writ_installation.archives.journal import Archiver, bootstrapped, record_notice
from writ_installation.files.home import Home
from writ_proof.archive import check

_POLICY_KEYS = click.option(
    "--policy-key",
    "policy_keys",
    multiple=True,
    metavar="U…",
    help="A public key of the policy service, present or former; those of $WRIT_HOME count as well.",
)


@click.group(cls=CommandGroup)
def journal() -> None:
    """The journal: its usage, and archives of it."""


@journal.command()
@asking
async def status(settings: Settings) -> int:
    """Show the journal's usage, its archives, and the part that can be archived now."""
    async with await settings.connect() as writ:
        answer = await writ.journal()
    if settings.screen.json:
        settings.screen.data(answer)
    else:
        _show(settings, answer)
    return Exit.DONE


def _show(settings: Settings, answer: JournalReply) -> None:
    share = answer.bytes / answer.max_bytes if answer.max_bytes > 0 else 0.0
    size = f"{answer.bytes / 1e6:.1f} MB, {share:.1%} of {answer.max_bytes / 1e6:.0f} MB"
    settings.screen.line(f"events {answer.first} to {answer.last}: {size}; new operations up to {answer.full_at:.0%}")
    if answer.generation:
        settings.screen.line(f"archived: {plural(answer.generation, 'time')}, up to event {answer.archived}")
    if answer.generation and answer.first <= answer.archived:
        settings.screen.line("the last archive is not finished: repeat `writ journal archive` with the same file")
    ready = answer.cut - max(answer.archived, answer.first - 1)
    what = f"up to event {answer.cut}, {plural(ready, 'event')}" if ready > 0 else "nothing"
    settings.screen.line(f"can be archived now: {what}; later events are kept for {answer.held_by}")


@journal.command()
@click.argument("file", type=OUTPUT_FILE)
@click.option("--reason", "-r", required=True, help="Why, for the record.")
@click.option("--until", metavar="WHEN", help="Only events before that: 30d, or 2026-11-25T14:30.")
@click.option("--with-damage", "damage", is_flag=True, help="Also if signatures in the range are not valid.")
@click.option("--supersede", is_flag=True, help="Announce another archive in place of the one that was announced last.")
@click.option(
    "--remove-returned",
    "returned",
    type=click.IntRange(1),
    metavar="EVENT",
    help="Also remove the events up to this one, which were lost and are in the journal again.",
)
@_POLICY_KEYS
@asking
async def archive(
    settings: Settings,
    file: Path,
    reason: str,
    until: str | None,
    damage: bool,
    supersede: bool,
    returned: int | None,
    policy_keys: tuple[str, ...],
) -> int:
    """Move the oldest part of the journal into FILE, once it is verified there and policy allows `journal_archive`.

    Works beside a running Writ, in its $WRIT_HOME. After a crash, call it again with the same file.
    """
    keys = _keys(settings.home, policy_keys)
    newest = None if until is None else times.instant(until, now=time.time())
    url = settings.where().url
    async with await settings.connect() as writ, bootstrapped(settings.home, url) as bus:
        archiver = Archiver(settings.home, bus, writ, keys, partial(record_notice, settings.home, url))
        done = await archiver.archive(
            file, reason=reason, until=newest, damage=damage, supersede=supersede, returned=returned or 0
        )
    if settings.screen.json:
        settings.screen.data(done)
        return Exit.DONE
    _show_result(settings, done.archive)
    settings.screen.line(f"{done.freed / 1e6:.1f} MB of the journal are free again")
    if not done.applied:
        settings.screen.line(
            "A NATS server did not reply when the journal was opened again, so its copy may lack events. "
            "Once it replies, `writ status` names it if it does"
        )
    if done.more:
        settings.screen.line(f"can be archived too: {plural(done.more, 'event')}; call it again with another file")
    return Exit.DONE


@journal.command()
@click.argument("files", nargs=-1, required=True, type=INPUT_FILE)
@_POLICY_KEYS
@local
async def verify(settings: Settings, files: tuple[Path, ...], policy_keys: tuple[str, ...]) -> int:
    """Verify archives offline: every event is there as it was stored, and policy allowed each archive.

    Several archives must follow each other without a gap. Only policy's public key is trusted.
    """
    keys = _keys(settings.home, policy_keys)
    people = CredentialsDirectory(settings.home).current
    verified = [check.verify(file, keys, people) for file in files]
    check.follow(verified)
    if settings.screen.json:
        settings.screen.data(verified)
    else:
        for one in verified:
            _show_result(settings, one)
    return Exit.DONE


def _show_result(settings: Settings, one: check.VerifiedArchive) -> None:
    screen = settings.screen
    screen.line(f"{one.file}: archive {one.generation}, events {one.first} to {one.last}, as they were stored")
    screen.fields(
        [
            ("archived", f"{times.date(one.at)} by {one.by}"),
            ("signatures that hold", one.signatures),
            ("digest", one.digest),
            ("follows", one.previous),
        ]
    )
    for problem in one.problems:
        screen.line(f"  no good already in the journal: event {problem.sequence}: {problem.what}")


def _keys(home: Home, more: tuple[str, ...]) -> Mapping[str, int]:
    """Return policy's public keys, each with the last event for which it counts. Raises Invalid where none is known."""
    try:
        own = home.policy_keys()
    except ConfigError:
        own = {}
    if not (own or more):
        raise Invalid("policy's public key is not known here: --policy-key names it")
    return {**dict.fromkeys(more, sys.maxsize), **own}
