"""`writ login` and `writ logout`: a short-lived key of one's own; `writ sessions`: the open ones."""

import socket
import time
from pathlib import Path

import click

from writ_bus.errors import Forbidden
from writ_cli.arguments import completed_names
from writ_cli.arguments.command_group import CommandGroup
from writ_cli.arguments.options import asking, listing
from writ_cli.context.connecting import CONNECT_SECONDS
from writ_cli.context.session_files import SessionFile, servers
from writ_cli.context.settings import Settings
from writ_cli.operations.controls.emergencies import SSH_KEY
from writ_cli.operations.running.requests import show_requested
from writ_cli.terminal import times
from writ_cli.terminal.exit_status import Exit
from writ_cli.terminal.output import Screen
from writ_client.client import Writ
from writ_client.people.ssh_keygen import read_ssh_key
from writ_client.whole_ids import session_of
from writ_contracts.catalogue.sessions import LONGEST, SHORTEST
from writ_contracts.errors import Denied
from writ_contracts.people.sessions import SessionView
from writ_trust.keys import Key, generate_seed


@click.command()
@click.option(
    "--for", "span", default="8h", show_default=True, metavar="SPAN", help="Duration; the policy has a bound."
)
@SSH_KEY
@asking
async def login(settings: Settings, span: str, ssh_key: Path | None) -> int:
    """Make a session key for some hours, and use it from now on.

    Your own key signs for it once, and need not stay on this machine. Commands use the session key until it expires or
    you `writ logout`. It also ends when you are disabled or removed.
    """
    context, key, seconds = settings.where(), Key(generate_seed()), _session_seconds(span)
    async with await settings.connect_by_own_key() as writ:
        request = await writ.sessions.open(
            key.public,
            seconds=seconds,
            device=socket.gethostname()[:100],
            by=None if ssh_key is None else read_ssh_key(ssh_key),
        )
        if request.view is None or request.view.outcome != "succeeded":
            return show_requested(settings.screen, request)
    file = SessionFile(
        session=request.operation_id,
        principal=context.principal,
        installation=context.installation,
        seed=key.seed.decode(),
        until=time.time() + seconds,
        url=context.url,
    )
    async with await Writ.within(context, key.seed, wait=CONNECT_SECONDS):  # NATS admits it, or nothing is kept
        settings.sessions.save(context, file)
    if settings.screen.json:
        settings.screen.data({"session": file.session, "principal": file.principal, "until": file.until})
    else:
        settings.screen.line(f"session {file.session} of {file.principal} until {times.date(file.until)}")
    return Exit.DONE


def _session_seconds(span: str) -> int:
    """Return the seconds of `--for`. Raises UsageError for a span that the service would refuse, on record."""
    seconds = int(times.lifetime("--for", span))
    if not SHORTEST <= seconds <= LONGEST:
        raise click.UsageError(f"--for {span}: a session lasts from {SHORTEST // 60}m to {LONGEST // 86_400}d")
    return seconds


@click.command()
@asking
async def logout(settings: Settings) -> int:
    """End the session of `writ login`, and delete its key."""
    context = settings.where()
    session = settings.sessions.find(context)
    if session is None:
        settings.sessions.forget(context)
        _show_ended(settings.screen, "", f"{context.principal} has no session here")
        return Exit.DONE
    try:
        writ = await settings.connect()
    except Forbidden as error:
        if settings.environ.get("WRIT_KEY_FILE"):  # it is another key that NATS does not know
            raise
        if session.url and not servers(session.url) & servers(context.url):
            raise _other_server(settings, session) from error
        settings.sessions.forget(context)
        why = f"NATS at {context.url} does not know its key"
        _show_ended(settings.screen, session.session, f"session {session.session} is forgotten: {why}")
        return Exit.DONE
    async with writ:
        return await _end_own(settings, writ, session)


def _other_server(settings: Settings, session: SessionFile) -> Forbidden:
    """Return the error for a server that need not know the session: it was opened at another one, and may go on."""
    context = settings.where()
    return Forbidden(
        f"NATS at {context.url} does not know session {session.session}, which was opened at {session.url}: log out"
        f" there, or delete {settings.sessions.path(context)} if it has ended"
    )


async def _end_own(settings: Settings, writ: Writ, session: SessionFile, reason: str = "") -> int:
    """End the session of this machine, then forget its key. NATS closes this connection, so no outcome is awaited.

    Raises Denied where it goes on.
    """
    request = await writ.sessions.submit_end(session.session, reason=reason)
    if request.error is not None:
        raise Denied(request.error.message, code=request.error.code)
    if request.outcome not in (None, "succeeded") or request.state == "awaiting_approval":
        verdict = request.verdict
        why = f"{request.outcome or 'awaiting approval'}{f': {verdict.reason}' if verdict else ''}"
        raise Denied(f"session {session.session} goes on: {why}", code=verdict.code if verdict else "denied")
    settings.sessions.forget(settings.where())
    _show_ended(settings.screen, session.session, f"session {session.session} is over")
    return Exit.DONE


def _show_ended(screen: Screen, session: str, line: str) -> None:
    if screen.json:
        screen.data({"ended": session or None})
    else:
        screen.line(line)


@click.group(cls=CommandGroup)
def sessions() -> None:
    """Sessions: short-lived keys of principals."""


@sessions.command("list")
@click.option("--all", "everybody", is_flag=True, help="The sessions of all principals, for auditors.")
@listing(asking)
async def list_all(settings: Settings, everybody: bool) -> int:
    """List your open sessions, and those of your agents."""
    async with await settings.connect() as writ:
        found = await writ.sessions.open_ones(everybody=everybody)
    columns = ("session", "of", "device", "proof", "since", "until", "")
    drop = ("proof", ("session", "device"), ("since", "until"), "since\nuntil", "of")
    rows = map(_row, found.sessions)
    settings.screen.listing(found.sessions, columns, rows, empty="no session is open", drop=drop)
    return Exit.DONE


def _row(one: SessionView) -> tuple[object, ...]:
    here = "this one" if one.here else ""
    return one.id, one.principal, one.device, one.method, times.date(one.since), times.date(one.until), here


@sessions.command("revoke")
@click.argument("session_id", metavar="SESSION", shell_complete=completed_names.sessions)
@click.option("--reason", "-r", default="", help="Why, for the record.")
@asking
async def revoke(settings: Settings, session_id: str, reason: str) -> int:
    """End SESSION before its time: your own, one of your agents, or another one where a rule allows it.

    Its connections are closed, and its requests that have not started are denied. For that of `writ login` here it does
    the same as `writ logout`.
    """
    async with await settings.connect() as writ:
        session_id, here = await session_of(writ, session_id), settings.sessions.find(settings.where())
        if here is not None and here.session == session_id:
            return await _end_own(settings, writ, here, reason)
        return show_requested(settings.screen, await writ.sessions.end(session_id, reason=reason))
