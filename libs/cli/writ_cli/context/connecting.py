"""The server and the key of a command: from options, the environment and `$WRIT_HOME`, in this order.

The principal's key is in WRIT_KEY_FILE or in `$WRIT_HOME/keys`, unless `writ login` made one for some hours. The server
is at NATS_URL, or at the address of the running `writ up`. `--context` gives both, and the principal.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from writ_bus.errors import Forbidden
from writ_bus.private_files import read_private
from writ_cli.context.session_files import servers
from writ_cli.context.settings import Settings
from writ_client.client import Writ
from writ_client.context import Context, open_bus, read_context
from writ_client.queries.silence import noticing
from writ_contracts.errors import ConfigError, Invalid, Unreachable
from writ_documents.document import FileErrors
from writ_installation.files.home import Home
from writ_installation.files.principal_changes import principals_of
from writ_installation.server_access.server_tls import pinned_ca
from writ_installation.status.server_url import public_url, running_url
from writ_trust.keys import Key

CONNECT_SECONDS = 3.0
SESSION_ENDED = "your session has ended: `writ login` begins another"
NOTICE_SECONDS = 1.0
"""A person at a terminal reads after this time what the command waits for."""


def context_of(settings: Settings) -> Context:
    """Return the context to work in. Raises Unreachable where no server is known, Invalid where no principal is."""
    if settings.context is not None:
        return _named(settings, settings.context)
    principal, environ = settings.who(), settings.environ
    key_file = environ.get("WRIT_KEY_FILE") or str(_own_key(settings, principal))
    return Context(
        principal=principal,
        url=environ.get("NATS_URL") or _running_url(settings),
        key_file=str(Path(key_file).absolute()),
        installation=environ.get("WRIT_INSTALLATION") or settings.home.installation,
        policy_keys=list(settings.policy_keys()),
        tls_ca=environ.get("WRIT_TLS_CA") or _pinned_ca(settings) or None,
        tls_cert=environ.get("WRIT_TLS_CERT") or None,
        tls_key=environ.get("WRIT_TLS_KEY") or None,
    )


async def connect(settings: Settings) -> Writ:
    """Connect by the key of `writ login` while there is one, unless WRIT_KEY_FILE names one."""
    context = context_of(settings)
    session = None if settings.environ.get("WRIT_KEY_FILE") else settings.sessions.find(context)
    if session is None:
        return await connect_by_own_key(settings)
    try:
        return await _connected(settings, context, session.seed.encode())
    except Forbidden as error:
        raise Forbidden(
            f"{SESSION_ENDED}; until then `writ logout` returns to your own key ({error})", code=error.code
        ) from error


async def connect_by_own_key(settings: Settings) -> Writ:
    """Connect by the principal's own key."""
    context = context_of(settings)
    try:
        seed = read_private(Path(context.key_file))
    except ConfigError as error:
        if settings.sessions.expired(context):
            raise ConfigError(f"{SESSION_ENDED}, by your own key ({error})") from error
        of_context = settings.context is not None or settings.environ.get("WRIT_KEY_FILE")
        if isinstance(error.__cause__, FileNotFoundError) and not of_context:
            raise ConfigError(f"{error}; {_without_key(settings, context)}") from error
        raise
    return await _connected(settings, context, seed)


def _without_key(settings: Settings, context: Context) -> str:
    """Return what to do where the folder lacks the principal's key."""
    lost = f"if it is lost, `writ principal rotate {context.principal}` makes a new key"
    own = running_url(settings.home)
    if own is None or not _places(context.url).isdisjoint(_places(f"{own},{public_url(settings.home)}")):
        return lost
    other = f"NATS_URL may be of another installation than {settings.home.root}, which is at {own}"
    return f"{other}: then unset it, or name your key with WRIT_KEY_FILE; {lost}"


def _places(urls: str) -> set[str]:
    """Return the hosts with their ports, whether with TLS or without."""
    return {one.partition("://")[2].replace("localhost:", "127.0.0.1:") for one in servers(urls)}


async def _connected(settings: Settings, context: Context, seed: bytes) -> Writ:
    """Connect, and write what the command waits for to a terminal, or for a command that waits anyway to any standard
    error; a completion writes nothing.
    """
    key = Key(seed, context.installation)
    try:
        if os.environ.get("_WRIT_COMPLETE") or not (settings.waits or sys.stderr.isatty()):
            return await Writ.within(context, seed, wait=CONNECT_SECONDS)
        with _noticed(f"writ: no answer yet from NATS at {context.url}; trying for {CONNECT_SECONDS:g} s"):
            bus = await open_bus(context, seed, wait=CONNECT_SECONDS)
    except Forbidden as error:
        if (owner := _owner(settings.home, key.public)) not in (None, context.principal):
            raise Forbidden(f"{error}: {context.key_file} has the key of {owner}") from error
        raise
    return Writ(noticing(bus, context.principal, context.url, _say), key, context.principal)


def _owner(home: Home, key: str) -> str | None:
    """Return the principal with this public key; None where the folder here knows none, or cannot be read."""
    try:
        return next((name for name, one in principals_of(home).items() if one.key == key), None)
    except (ConfigError, FileErrors, OSError):  # the error of the server says enough without it
        return None


def _say(what: str) -> None:
    click.echo(f"writ: {what}", err=True)


@contextmanager
def _noticed(text: str) -> Iterator[None]:
    """Write this line if the block takes longer than usual."""
    notice = asyncio.get_running_loop().call_later(NOTICE_SECONDS, click.echo, text, None, True, True)
    try:
        yield
    finally:
        notice.cancel()


def _own_key(settings: Settings, principal: str) -> Path:
    """Return the key file in the folder. Raises Invalid for an unknown principal without a key file."""
    path = settings.home.seed_file(f"principal-{principal}")
    if settings.home.principals.exists() and not path.exists():
        known = principals_of(settings.home)
        if principal not in known:
            text = f"there is no principal {principal[:64]!r} in {settings.home.principals}"
            raise Invalid(text, code="unknown_principal")
    return path


def _named(settings: Settings, path: Path) -> Context:
    """Return the context of a file. Raises Invalid for an installation or a principal that is named beside it."""
    context = read_context(path)
    if settings.home_typed:
        raise Invalid(f"{path} names an installation, so --home has no effect: leave one of them out")
    if settings.principal not in (None, "", context.principal):
        raise Invalid(
            f"{path} is the context of {context.principal}, not of {settings.principal}: leave one of them out"
        )
    return context


def _running_url(settings: Settings) -> str:
    url = running_url(settings.home)
    if url is None:
        settings.check_installation()
        if settings.home.in_containers:
            where = f"the services of {settings.home.root} run in containers"
            raise Unreachable(f"{where}: use `docker compose run --rm writ …`, or set NATS_URL and WRIT_TLS_CA")
        where = f"Writ is not up on {settings.home.root}"
        raise Unreachable(f"{where}: start it with `writ up`, or set NATS_URL and WRIT_KEY_FILE")
    return url


def _pinned_ca(settings: Settings) -> str:
    """Return the CA of the installation on this machine, unless the server is another one."""
    return "" if settings.environ.get("NATS_URL") else pinned_ca(settings.home)
