"""`writ approvals list|show|challenge|approve|reject|watch`."""

import time
from contextlib import aclosing
from pathlib import Path
from typing import Any, BinaryIO

import click

from writ_cli.approvals.card_text import refusals, show_card
from writ_cli.approvals.passkey_approval import CHALLENGE, challenge_of, signed_challenge
from writ_cli.arguments import completed_names, completion
from writ_cli.arguments.command_group import CommandGroup
from writ_cli.arguments.options import asking, listing
from writ_cli.arguments.typed_options import refuse_typed
from writ_cli.context.settings import Settings
from writ_cli.credentials.options import ASSERTION
from writ_cli.operations.catalogue import parameter_words
from writ_cli.terminal import times
from writ_cli.terminal.confirmation import confirmed
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output import Screen
from writ_client.client import Writ
from writ_client.people.approval_card import Card
from writ_client.people.ssh_keygen import SshKey, read_ssh_key
from writ_client.whole_ids import request_of
from writ_contracts.errors import Conflict, Denied, Invalid
from writ_contracts.ids import WHOLE_ID
from writ_contracts.people.approvals import ApprovalEvent, ApprovalReply, PendingApproval, short_digest
from writ_runtime.plugins.entry_points import load_catalogue


def _one_request(context: click.Context, argument: click.Parameter, ids: tuple[str, ...]) -> str:
    """Return the only id. Raises UsageError for several."""
    if len(ids) > 1:
        first = f"`{context.command_path} {ids[0][:80]}`"
        raise click.UsageError(f"one request at a time, since you decide by its card: {first}, then the next")
    return ids[0]


REQUEST = click.argument(
    "operation",
    nargs=-1,
    required=True,
    metavar="OPERATION",
    callback=_one_request,
    shell_complete=completion.pending_requests,
)
POLICY_KEY = click.option(
    "--policy-key",
    envvar="WRIT_POLICY_KEY",
    metavar="U…",
    help="Policy's public key (WRIT_POLICY_KEY, or public.yaml).",
)
GIVEN = click.option(
    "--parameter",
    "values",
    multiple=True,
    metavar="KEY=VALUE",
    help="The value of a hidden parameter, as the requester gave it to you; it is checked against their signature.",
    shell_complete=completed_names.hidden_parameters,
)
SSH_KEY = click.option(
    "--ssh-key",
    envvar="WRIT_SSH_KEY",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Approve by this security key, such as ~/.ssh/id_ed25519_sk (WRIT_SSH_KEY).",
)
DIGEST = click.option("--digest", "expected", metavar="7f3a-91c2", help="Only if the request has this digest.")
UNVERIFIED = click.option("--unverified", is_flag=True, help="Approve even if signatures cannot be verified here.")
REASON = click.option("--reason", "-r", default="", help="Why, for the record and for the requester.")


@click.group(cls=CommandGroup)
def approvals() -> None:
    """Requests that wait for a person: see them, approve or reject them."""


@approvals.command("list")
@listing(asking)
async def list_pending(settings: Settings) -> int:
    """List the requests that you may decide on, now or after others."""
    async with await settings.connect() as writ:
        pending = await writ.approvals.every_pending()
    if settings.screen.json:
        settings.screen.data(pending)
    elif not pending:
        settings.screen.line("no request waits for you to decide; `writ op list` shows your own")
    else:
        show_pending(settings.screen, pending)
    return Exit.DONE


def show_pending(screen: Screen, pending: list[PendingApproval]) -> None:
    """Show the requests as a table. Where it is too wide, the beginnings of their reasons are beneath, in one row
    each: a longer one could look like that of another request.
    """
    now = time.time()
    rows = [
        (
            one.operation_id,
            short_digest(one.digest),
            one.principal + (f" for {one.acts_for}" if one.acts_for else ""),
            one.operation,
            one.target,
            "you" if one.yours else one.waits_for,
            times.span(max(one.until - now, 0.0)),
            " ".join(one.reason.split()),
        )
        for one in pending
    ]
    screen.table(
        ("operation", "digest", "requested by", "what", "target", "waits for", "time left", "reason"),
        rows,
        drop=("digest", ("operation", "time left"), ("target", "waits for"), ("requested by", "what")),
        spill=True,
        cut=True,
    )


@approvals.command("show")
@click.argument("operation", shell_complete=completion.readable_requests)
@POLICY_KEY
@GIVEN
@asking
async def show(settings: Settings, operation: str, policy_key: str | None, values: tuple[str, ...]) -> int:
    """Show one request: its effect, its requester, its approvers and its deadline."""
    async with await settings.connect() as writ:
        card = await _card(settings, writ, operation, policy_key, values)
    show_card(settings.screen, card, time.time())
    return Exit.DONE


@approvals.command("challenge")
@REQUEST
@REASON
@POLICY_KEY
@GIVEN
@DIGEST
@UNVERIFIED
@asking
async def challenge(
    settings: Settings,
    operation: str,
    reason: str,
    policy_key: str | None,
    values: tuple[str, ...],
    expected: str | None,
    unverified: bool,
) -> int:
    """Print the JSON that a passkey signs elsewhere to approve a request, for five minutes.

    Give `publicKey` to `navigator.credentials.get` on a page of the relying party, then approve with `--challenge` and
    `--assertion`.
    """
    async with await settings.connect() as writ:
        card = await _card(settings, writ, operation, policy_key, values)
        _check_digest(card, expected)
        _check_approvable(card, unverified=unverified)
        settings.screen.data(await challenge_of(writ, card, reason))
    return Exit.DONE


@approvals.command("approve")
@REQUEST
@REASON
@POLICY_KEY
@SSH_KEY
@CHALLENGE
@ASSERTION
@GIVEN
@DIGEST
@UNVERIFIED
@click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
@asking
async def approve(
    settings: Settings,
    operation: str,
    reason: str,
    policy_key: str | None,
    ssh_key: Path | None,
    challenge_file: Path | None,
    assertion: BinaryIO | None,
    values: tuple[str, ...],
    expected: str | None,
    unverified: bool,
    yes: bool,
) -> int:
    """Approve a request. What is approved is shown first."""
    if yes and expected is None and len(operation) != WHOLE_ID:
        raise click.UsageError("--yes approves without showing the request: give the whole operation id, or --digest")
    if challenge_file is not None or assertion is not None:
        refuse_typed(
            ("reason", "ssh_key"), "a passkey has signed --challenge, with its own reason: leave one of them out"
        )
    async with await settings.connect() as writ:
        card = await _card(settings, writ, operation, policy_key, values)
        _check_digest(card, expected)
        if not settings.screen.json:
            show_card(settings.screen, card, time.time())
        if not yes:
            _check_turn(card, writ.principal)
        _check_approvable(card, unverified=unverified)
        signed = await signed_challenge(writ, challenge_file, assertion, prompts=not yes)
        by = _signer(card, ssh_key) if signed is None else None
        if not yes and not _confirmed(card):
            return Exit.PENDING
        if signed is not None:
            answer = await writ.approvals.approve_challenge(card, *signed)
        else:
            answer = await writ.approvals.approve(card, reason=reason, by=by)
    return _show_answer(settings.screen, card, answer)


@approvals.command("reject")
@REQUEST
@REASON
@DIGEST
@click.option("--yes", "-y", is_flag=True, help="As for `approve`; a rejection does not ask.")
@asking
async def reject(settings: Settings, operation: str, reason: str, expected: str | None, yes: bool) -> int:
    """Reject a request, which ends it."""
    async with await settings.connect() as writ:
        card = await _card(settings, writ, operation, None, ())
        _check_digest(card, expected)
        answer = await writ.approvals.reject(card, reason=reason)
    return _show_answer(settings.screen, card, answer)


@approvals.command("watch")
@asking
async def watch(settings: Settings) -> int:
    """Show the requests that wait for you, and each change of them, until interrupted."""
    settings.screen.refuse_field()
    async with await settings.waiting().connect() as writ, aclosing(await writ.approvals.listen()) as events:
        for one in await writ.approvals.every_pending():
            _show_event(settings.screen, _as_event(one))
        async for event in events:
            _show_event(settings.screen, event)
    return Exit.DONE


def _as_event(one: PendingApproval) -> ApprovalEvent:
    """Return a request that waits already as the event with which it began to."""
    return ApprovalEvent(
        kind="pending",
        operation_id=one.operation_id,
        principal=one.principal,
        operation=one.operation,
        target=one.target,
        until=one.until,
    )


def _show_event(screen: Screen, event: ApprovalEvent) -> None:
    if screen.json:
        screen.item(event)
        return
    by = f" by {event.by}" if event.by else ""
    line = f"{event.kind:10} {event.operation_id}  {event.principal}: {event.operation} on {event.target}{by}"
    if event.reason:
        screen.quoted(f"{line}:", text=event.reason)
    else:
        screen.line(line)


async def _card(
    settings: Settings, writ: Writ, operation: str, policy_key: str | None, values: tuple[str, ...]
) -> Card:
    keys = settings.policy_keys(*([policy_key] if policy_key else []))
    operation_id = await request_of(writ, operation)
    card = await writ.approvals.card(operation_id, keys)
    return await writ.approvals.card(operation_id, keys, hidden_parameters(card, values)) if values else card


def hidden_parameters(card: Card, words: tuple[str, ...]) -> dict[str, Any]:
    """Return the values of hidden parameters; a file's content in the request's own encoding. Raises Invalid."""
    definition = load_catalogue().get(card.decision.operation)
    encoding = card.requested.effective.get("encoding")
    known = [f"encoding={encoding}"] if isinstance(encoding, str) else []  # by it `content=@FILE` is base64
    found = parameter_words.parse([*words, *known], definition.parameters if definition else None)
    if known:
        del found["encoding"]
    if unknown := sorted(set(found) - set(card.requested.hidden)):
        raise Invalid(f"{', '.join(unknown)} is not hidden in this request; hidden: {', '.join(card.requested.hidden)}")
    return found


def policy_unknown(card: Card) -> bool:
    """Return whether policy's own signature is among what could not be verified."""
    return any(what.startswith("policy's signature") for what in card.unverified)


def _signer(card: Card, ssh_key: Path | None) -> SshKey | None:
    """Return the security key that signs; None where one's own nkey suffices. Raises Invalid."""
    if ssh_key is not None:
        return read_ssh_key(ssh_key)
    if card.proof == "key":
        return None
    raise Invalid(
        f"it needs the proof {card.proof}: --ssh-key names the file of your security key; for a passkey, "
        "`writ approvals challenge` prints what it signs"
    )


def _check_approvable(card: Card, *, unverified: bool) -> None:
    """Raises Denied for a card that must not be approved, or whose signatures cannot be verified here."""
    if card.unverified and policy_unknown(card) and not unverified:
        raise Denied(f"not approved: {card.unverified[0]}; give --policy-key, or --unverified")
    if why := refusals(card):
        raise Denied(f"not approved: {'; '.join(why)}")


def _check_turn(card: Card, who: str) -> None:
    """Raises Conflict or Denied, as policy would after the confirmation, for a person who may not approve it now."""
    number = card.requested.operation_id
    if card.state != "awaiting_approval":
        raise Conflict(f"not approved: {number} is {card.state}, so it waits for no approval", code="decided")
    if who in (one.approver for one in card.approvals):
        raise Conflict(f"not approved: {who} has approved it already", code="decided")
    if not card.step:
        reason = f"it waits for {card.waits_for}, which does not include {who}"
        raise Denied(f"not approved: {reason}", code="not_approver")


def _check_digest(card: Card, expected: str | None) -> None:
    if expected is not None and expected.lower() != card.short:
        raise Invalid(f"the request has digest {card.short}, not {expected[:40]}: it is another request")


def _confirmed(card: Card) -> bool:
    without = "nothing was approved: there is no terminal to ask on; --yes approves without a question"
    return confirmed(f"Approve: {card.sentence} ({card.short})?", without_answer=without)


def _show_answer(screen: Screen, card: Card, answer: ApprovalReply) -> int:
    if screen.json:
        screen.data(answer)
        return Exit.DONE
    more = f"; {answer.remaining} more needed" if answer.remaining else ""
    screen.line(f"{answer.state}: {card.sentence} ({card.short}){more}")
    return Exit.DONE
