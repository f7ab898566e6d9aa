"""Traces of Writ on the host of one target, listed or removed: local administration by the owner of its key.

It carries out no operation, and needs no running Writ. Each user of the target is read in turn.
"""

from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from writ_agent.backends.hostops_requests import read_result
from writ_agent_ssh.connection.credentials import SshCredentials
from writ_agent_ssh.connection.host_keys import KnownHosts
from writ_agent_ssh.host_sessions.pool import Pool
from writ_agent_ssh.host_sessions.session import HostSession
from writ_agent_ssh.settings import connection_of
from writ_agent_ssh.startup.archive import build
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target

Action = Literal["leftovers", "clean"]
SECONDS = 20.0


class CleaningRequest(Struct, frozen=True, kw_only=True):
    """A target with the places of its credentials. `public_key`: the authorised key, without a comment."""

    action: Action
    target: Target
    keys: str
    known_hosts: str | None = None
    auth_sock: str | None = None
    public_key: str = ""


async def read_or_remove(request: CleaningRequest) -> dict[str, str]:
    """Return the present or removed parts of each user as JSON. Raises WritError."""
    agent = Path(request.auth_sock) if request.auth_sock else None
    credentials = SshCredentials(Path(request.keys), agent)
    known = KnownHosts(Path(request.known_hosts) if request.known_hosts else None)
    pool = Pool(build(), credentials, known, idle=SECONDS, connects=1)
    target, connection = request.target, connection_of(request.target)
    found = []
    async with pool.fresh_link(target.id, connection) as link:
        for root in (False, True) if connection.become and connection.user != "root" else (False,):
            async with pool.started(target.id, link, connection, root=root) as session:
                found += await _listed_leftovers(session, request)
    return {"found": msgspec.json.encode(found).decode()}


async def _listed_leftovers(session: HostSession, request: CleaningRequest) -> list[dict[str, Any]]:
    message = {
        "id": f"leftovers-{request.target.id}",
        "action": request.action,
        "operation": "host",
        "parameters": {"public_key": request.public_key},
        "target": {},
        "timeout": SECONDS,
    }
    try:
        reply = await session.run_request(message, lambda _: None, (), lambda _: None)
    except Invalid as error:
        if error.code != "no_python":
            raise
        return []  # hostops never was there
    return [read_result(request.action, reply).output]
