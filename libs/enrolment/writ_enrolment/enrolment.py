"""Enrolment on the agent's host: it makes its key itself, enrols it by a one-time token, and checks that NATS accepts
it.

The private key is written before anything is sent, and only its public half is sent. An interrupted enrolment may be
repeated with the same token: it uses the same key then. The environment is written last; without it the enrolment is
incomplete.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from writ_bus.errors import Forbidden
from writ_bus.nats.bus import NatsBus, connect
from writ_bus.nats.connection import Options
from writ_bus.nats.tls import PINNED, TlsOptions
from writ_bus.private_files import read_private
from writ_contracts import subjects
from writ_contracts.errors import ConfigError, Conflict, Denied, Invalid, TimedOut, Unreachable
from writ_contracts.failures import raise_for
from writ_contracts.installation.enrolment import Enrolment, EnrolmentReply, EnrolmentRequest
from writ_contracts.subjects import inbox_prefix
from writ_contracts.wire import decode, encode
from writ_documents import atomic_files
from writ_documents.atomic_files import create_atomically, sync_folder
from writ_documents.host_identity import MACHINE_ID, host_identity
from writ_trust.enrolment_tickets import Ticket
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import sign

ANSWER_SECONDS = 15.0
ADMITTED_WITHIN = 30.0
PAUSE = 0.2
PLAINTEXT = "WRIT_NATS_PLAINTEXT"
MACHINE = "WRIT_MACHINE_ID"
TLS = ("WRIT_TLS_CA", "WRIT_TLS_CERT", "WRIT_TLS_KEY")


class EnrolledAgent(Struct, frozen=True, kw_only=True):
    """The agent's files, in the chosen folder; only their owner can read secrets in them."""

    pool: str
    key: str
    key_file: str
    environment_file: str


async def enrol(ticket: Ticket, folder: Path, tls: TlsOptions | None, environment: dict[str, str]) -> EnrolledAgent:
    """Enrol this host; return when NATS accepts its agent. `environment`: further variables for the agent's file.

    Raises Denied where the token is invalid or used, Conflict where this host has enrolled for the pool before,
    Unreachable, TimedOut.
    """
    tls = tls or (TlsOptions(ca=ticket.ca) if ticket.ca else None)
    key_file, environment_file = folder / f"agent-{ticket.pool}.seed", folder / f"agent-{ticket.pool}.env"
    used = _next_file(key_file, ticket)
    key = _key(used, ticket.installation)
    machine_id = Path(environment.get(MACHINE, MACHINE_ID))
    host = host_identity(ticket.installation, machine_id) if ticket.binds_host else None
    if not await _admitted(ticket, key, tls, within=0.0):
        await _send(ticket, key, host, tls)
        if not await _admitted(ticket, key, tls, within=ADMITTED_WITHIN):
            raise TimedOut(
                f"the provisioner accepted the key, but NATS did not within {ADMITTED_WITHIN:g} s: try again, with a"
                " NATS server of your own once it has loaded its new configuration"
            )
    elif not ticket.replaces and _is_for(environment_file, ticket):
        raise Conflict(f"{key_file} is enrolled already: it is this host's key for pool {ticket.pool}")
    if used != key_file:
        used.replace(key_file)
        sync_folder(folder)
    values = {
        "NATS_URL": ticket.url,
        "WRIT_POOL": ticket.pool,
        "WRIT_POLICY_KEY": ticket.policy_key,
        "WRIT_INSTALLATION": ticket.installation,
        **({"WRIT_PEOPLE_KEY": ticket.people_key} if ticket.people_key else {}),
        **({"WRIT_TLS_CA": ticket.ca} if ticket.ca else {}),
        **({"WRIT_HOST_BOUND": "true"} if host else {}),
        **environment,
    }
    atomic_files.save(environment_file, "".join(f"{name}={value}\n" for name, value in values.items()).encode())
    return EnrolledAgent(
        pool=ticket.pool, key=key.public, key_file=str(key_file), environment_file=str(environment_file)
    )


def _next_file(key_file: Path, ticket: Ticket) -> Path:
    """Return the file of the key to enrol: beside the present one where that is to be replaced, until the new one is
    accepted. Raises Invalid where the token is for another key.
    """
    if not ticket.replaces:
        return key_file
    following = key_file.with_suffix(".next.seed")
    if Key(read_private(key_file), ticket.installation).public == ticket.replaces:
        return following
    if following.exists() or not key_file.exists():
        raise Invalid(f"{key_file} is not the key that this token replaces, {ticket.replaces}")
    return key_file  # replaced before, and the command was interrupted


def agent_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of TLS and of the host's id for the agent, paths as absolute ones: it is started in another
    folder.
    """
    variables = {name: environ[name] for name in TLS if environ.get(name)}
    files = {name: str(Path(one).absolute()) for name, one in variables.items() if not one.startswith(PINNED)}
    allowed = {PLAINTEXT: environ[PLAINTEXT]} if environ.get(PLAINTEXT) else {}
    machine = {MACHINE: str(Path(environ[MACHINE]).absolute())} if environ.get(MACHINE) else {}
    return {**variables, **files, **allowed, **machine}


def _key(path: Path, installation: str) -> Key:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not path.exists():
        with suppress(FileExistsError):  # of two at once, both take the key of the first
            create_atomically(path, generate_seed() + b"\n")  # nobody else's, also in a folder that a group shares
    sync_folder(path.parent)  # a key that a power cut can take must not be enrolled
    try:
        return Key(read_private(path), installation)
    except Invalid as error:
        raise ConfigError(f"{path}: {error}") from error


def _is_for(environment_file: Path, ticket: Ticket) -> bool:
    """Return whether the file exists, and is not of an earlier installation of this host."""
    try:
        return f"WRIT_POLICY_KEY={ticket.policy_key}" in environment_file.read_text().splitlines()
    except FileNotFoundError:
        return False


async def _send(ticket: Ticket, key: Key, host: str | None, tls: TlsOptions | None) -> None:
    enrolment = Enrolment(token=ticket.token, pool=ticket.pool, key=key.public, host=host)
    message = encode(EnrolmentRequest(by_token=sign(ticket.key, enrolment), by_agent=sign(key, enrolment)))
    for last in (False, True):
        try:
            bus = await _connect(ticket, f"enrol-{ticket.token}", ticket.key, tls)
        except Denied as error:
            if await _admitted(
                ticket, key, tls, within=PAUSE
            ):  # it was used for this very key, and the answer got lost
                return
            raise Denied("this token is not valid: it was used, has expired or was revoked") from error
        try:
            answer = await bus.request(subjects.enrol(ticket.token), message, timeout=ANSWER_SECONDS)
        except (Forbidden, Unreachable, TimedOut):  # NATS may just have learned that it is used: the next connect fails
            if last:
                raise
        else:
            raise_for(decode(answer.data, EnrolmentReply))
            return
        finally:
            await bus.close()


async def _admitted(ticket: Ticket, key: Key, tls: TlsOptions | None, *, within: float) -> bool:
    deadline = time.monotonic() + within
    while True:
        try:
            bus = await _connect(ticket, f"agent-{ticket.pool}", key, tls)
        except (Denied, Unreachable, TimedOut) as error:
            if time.monotonic() >= deadline:
                if isinstance(error, Denied):
                    return False
                raise
            await asyncio.sleep(PAUSE)
        else:
            await bus.close()
            return True


async def _connect(ticket: Ticket, name: str, key: Key, tls: TlsOptions | None) -> NatsBus:
    servers = [server.strip() for server in ticket.url.split(",")]
    return await connect(
        Options(name=f"writ-{name}", servers=servers, seed=key.seed, inbox_prefix=inbox_prefix(name), tls=tls)
    )
