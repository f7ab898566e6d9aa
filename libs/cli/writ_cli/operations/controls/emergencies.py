"""`writ emergency`: declare one, confirm or end it, see what was done under it, and sign that off."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import click
from rich.text import Text

from writ_cli.arguments import completion
from writ_cli.arguments.command_group import CommandGroup
from writ_cli.arguments.options import asking, listing, target_option
from writ_cli.context.settings import Settings
from writ_cli.operations.controls.stops import REASON
from writ_cli.operations.running.operation_check import warn_of_globs_without_targets
from writ_cli.operations.running.requests import show_view
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output import Screen, outcome
from writ_cli.terminal.quoted_text import QuotedText
from writ_client.client import Writ
from writ_client.people.ssh_keygen import SshKey, read_ssh_key
from writ_client.whole_ids import emergency_of
from writ_contracts.history.audit import SearchQuery, SearchRow
from writ_contracts.plural import plural
from writ_contracts.policy.versions import EmergencyView
from writ_contracts.requests import OperationView

PAGE = 500
SSH_KEY = click.option(
    "--ssh-key",
    envvar="WRIT_SSH_KEY",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Prove your presence by this security key, such as ~/.ssh/id_ed25519_sk (WRIT_SSH_KEY).",
)
ID = click.argument("emergency", metavar="EMERGENCY", shell_complete=completion.emergencies)


@click.group(cls=CommandGroup)
def emergency() -> None:
    """Declare, confirm, end and review emergencies, in which the policy's emergency rules apply."""


@emergency.command("declare")
@REASON
@target_option("Targets (web-*, *).", "targets", metavar="GLOB", multiple=True, required=True)
@click.option("--for", "span", metavar="SPAN", required=True, help="Longest duration; the policy has a bound.")
@SSH_KEY
@asking
async def declare(settings: Settings, reason: str, targets: tuple[str, ...], span: str, ssh_key: Path | None) -> int:
    """Declare an emergency.

    Another person has to confirm it in time, or it lapses; until then its rules do not count for you. When it is over,
    another person reviews what was done; before that you cannot declare another one.
    """
    until = time.time() + times.lifetime("--for", span)
    async with await settings.connect() as writ:
        view = await writ.emergency_declare(list(targets), reason=reason, until=until, by=_signer(ssh_key))
        if view.outcome != "succeeded":
            return show_view(settings.screen, view)
        await warn_of_globs_without_targets(writ, targets)
        found = [one for one in (await writ.policy_status()).emergencies if one.id == view.operation_id]
    if settings.screen.json:
        settings.screen.data(found[0] if found else view)
        return Exit.DONE
    settings.screen.line(Text(f"emergency {view.operation_id}", style="bold red"), " is declared")
    for one in found:
        _show(settings.screen, one)
    return Exit.DONE


def _signer(ssh_key: Path | None) -> SshKey | None:
    return None if ssh_key is None else read_ssh_key(ssh_key)


def _show(screen: Screen, one: EmergencyView) -> None:
    waits = "" if one.confirm_by is None or one.confirmed_by else times.date(one.confirm_by)
    screen.fields(
        [
            ("state", one.state.replace("_", " ")),
            ("declared by", one.by),
            ("targets", ", ".join(one.targets)),
            ("reason", QuotedText(one.reason)),
            ("since", times.date(one.since)),
            ("until", times.date(one.until)),
            ("lapses unless confirmed by", waits),
            ("confirmed by", one.confirmed_by),
            ("ended by", one.ended_by),
        ]
    )
    if waits:
        screen.line(f"  writ emergency confirm {one.id}    by another person")


@emergency.command("confirm")
@ID
@click.option("--reason", "-r", default="", help="Why, for the record.")
@SSH_KEY
@asking
async def confirm(settings: Settings, emergency: str, reason: str, ssh_key: Path | None) -> int:
    """Confirm an emergency that another person declared."""
    async with await settings.connect() as writ:
        emergency = await emergency_of(writ, emergency)
        view = await writ.emergency_confirm(emergency, reason=reason, by=_signer(ssh_key))
    return _done(settings.screen, view, f"emergency {emergency} is confirmed")


@emergency.command("end")
@ID
@click.option("--reason", "-r", default="", help="Why, for the record.")
@asking
async def end(settings: Settings, emergency: str, reason: str) -> int:
    """End an emergency before its time."""
    async with await settings.connect() as writ:
        emergency = await emergency_of(writ, emergency)
        view = await writ.emergency_end(emergency, reason=reason)
    text = f"emergency {emergency} is over; `writ emergency report {emergency}` lists its operations"
    return _done(settings.screen, view, text)


@emergency.command("review")
@ID
@REASON
@asking
async def review(settings: Settings, emergency: str, reason: str) -> int:
    """Sign off what was done in an emergency that is over; the reason is what you found."""
    async with await settings.connect() as writ:
        emergency = await emergency_of(writ, emergency)
        view = await writ.emergency_review(emergency, reason=reason)
    return _done(settings.screen, view, f"the review of emergency {emergency} is signed off")


def _done(screen: Screen, view: OperationView, text: str) -> int:
    if screen.json or view.outcome != "succeeded":
        return show_view(screen, view)
    screen.line(text)
    return Exit.DONE


@emergency.command("list")
@listing(asking)
async def list_all(settings: Settings) -> int:
    """List the emergencies in force, and those that wait for their review. Everybody may see them."""
    async with await settings.connect() as writ:
        status = await writ.policy_status()
    found = status.emergencies
    settings.screen.listing(
        found,
        ("emergency", "state", "declared by", "until", "targets", "reason"),
        (
            (one.id, one.state.replace("_", " "), one.by, times.date(one.until), ", ".join(one.targets), one.reason)
            for one in found
        ),
        empty="no emergency is in force, and none waits for its review",
        drop=(("emergency", "until"), ("state", "declared by"), "reason"),
    )
    return Exit.DONE


@emergency.command("report")
@ID
@asking
async def report(settings: Settings, emergency: str) -> int:
    """Show everything that was requested on its targets while it was in force, for its review.

    It includes others' operations as far as you may read them in the record (`audit_read`).
    """
    async with await settings.connect() as writ:
        emergency = await emergency_of(writ, emergency)
        rows = [row async for row in _under(writ, emergency)]
        found = [one for one in (await writ.policy_status()).emergencies if one.id == emergency]
    if settings.screen.json:
        settings.screen.data({"emergency": found[0] if found else None, "operations": rows})
        return Exit.DONE
    for one in found:
        settings.screen.line(Text(f"emergency {one.id}", style="bold"))
        _show(settings.screen, one)
    settings.screen.line(f"decided while it was in force: {plural(len(rows), 'operation')}")
    if not rows:
        return Exit.DONE
    settings.screen.table(
        ("operation", "when", "who", "what", "target", "outcome"),
        [_row(row) for row in rows],
        drop=(("operation", "when"), ("who", "what"), ("target", "outcome")),
    )
    return Exit.DONE


async def _under(writ: Writ, emergency: str) -> AsyncIterator[SearchRow]:
    before: int | None = None
    while True:
        answer = await writ.search(SearchQuery(emergency=emergency, before=before, limit=PAGE))
        for row in answer.rows:
            yield row
        if not answer.more or not answer.rows:
            return
        before = answer.rows[-1].first_sequence


def _row(row: SearchRow) -> tuple[object, ...]:
    when = times.date(row.requested_at)
    return row.operation_id, when, row.principal, row.operation, row.target, outcome(row.outcome or row.state)
