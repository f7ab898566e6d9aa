"""Target tests: a connection of its own is opened as if it were the first, hostops surveys the host, both are closed.

A failure names the last step reached: the host answers, shows its key, accepts the login, has the prerequisites.
"""

import asyncio
from collections.abc import Collection, Iterator

from msgspec.structs import replace

from writ_agent.backends.hostops_requests import SURVEY_SECONDS, allowed, survey_request, surveyed
from writ_agent.backends.port import Failing, TargetTestResult
from writ_agent_ssh.connection.link import SshLink
from writ_agent_ssh.host_sessions.channel import HostMessage
from writ_agent_ssh.host_sessions.pool import Pool
from writ_agent_ssh.host_sessions.session import HostSession
from writ_agent_ssh.settings import SshConnection, connection_of
from writ_contracts.errors import Unreachable, WritError
from writ_contracts.host_addresses import host_and_port
from writ_contracts.inventory import Target
from writ_contracts.target_tests import StepName, TargetTestStep

LATE = 3.0
"""Seconds by which a host's own timeout report may be late."""
HOST_KEY = ("host_key_changed", "host_key_unknown")
CREDENTIALS = ("auth_failed",)
LASTING = frozenset({"become_denied", "become_missing", "become_password", "no_python"})
"""Codes of ways to root which stay closed until somebody changes the host or the target's entry."""
UNTRIED: dict[str, StepName] = {"no_credentials": "credentials", "invalid_known_hosts": "host_key"}
"""Codes found before the host is contacted."""


async def tested(pool: Pool, target: Target, operations: Collection[str]) -> TargetTestResult:
    """Return the result; never raises WritError. `operations`: those of the hostops that is sent there."""
    steps: list[TargetTestStep] = []
    try:
        connection = connection_of(target)
        async with pool.fresh_link(target.id, connection) as link:
            steps += _accepted_steps(link, connection)
            async with pool.started(target.id, link, connection) as session:
                reply = await _survey(session, target)
            found = surveyed(reply, operations, steps)
            by_root = {name for name in operations if connection.needs_root(name)}
            return await _as_root(pool, target, link, by_root, found) if by_root else found
    except WritError as error:
        steps = (
            [*steps, TargetTestStep(name="host", well=False, detail=str(error))]
            if steps
            else list(_refused_steps(error))
        )
        return TargetTestResult(steps=steps, code=error.code, message=str(error))


async def _as_root(
    pool: Pool, target: Target, link: SshLink, by_root: Collection[str], found: TargetTestResult
) -> TargetTestResult:
    """Return the result with the operations that need root, as root finds them. Without a way to root those lack."""
    connection = connection_of(target)
    try:
        async with pool.started(target.id, link, connection, root=True) as session:
            reply = await _survey(session, target)
        observed = surveyed(reply, by_root, [])
        lacking, fails, detail, well = observed.lacking, observed.fails, "root by sudo", True
    except WritError as error:
        lacking, detail, well = dict.fromkeys(by_root, f"{error.code}: {error}"), str(error), False
        fails = dict.fromkeys(by_root, Failing(error.code, str(error), dry_run=True)) if error.code in LASTING else {}
    others = {name: why for name, why in found.lacking.items() if name not in by_root}
    return replace(
        found,
        steps=[*found.steps, TargetTestStep(name="become", well=well, detail=detail)],
        operations=sorted({*found.operations, *by_root} - lacking.keys() - others.keys()),
        lacking={**others, **lacking},
        fails={**{name: failing for name, failing in found.fails.items() if name not in by_root}, **fails},
    )


async def _survey(session: HostSession, target: Target) -> HostMessage:
    """Survey the host, with a bound here too: a hanging host keeps no time itself. Raises WritError."""
    try:
        async with asyncio.timeout(SURVEY_SECONDS + LATE):
            return await session.run_request(survey_request(allowed(target)), _silent, (), lambda _: None)
    except TimeoutError:
        seconds = SURVEY_SECONDS + LATE
        raise Unreachable(
            f"the host accepted the login, but did not reply within {seconds:g} s", code="timeout"
        ) from None


def _accepted_steps(link: SshLink, connection: SshConnection) -> Iterator[TargetTestStep]:
    via = f" via {connection.via}" if connection.via else "".join(f" by {hop.host}" for hop in connection.jump)
    where = host_and_port(connection.host, connection.port)
    yield TargetTestStep(name="connection", well=True, detail=f"{where}{via}")
    yield TargetTestStep(name="host_key", well=True, detail=link.host_key)
    yield TargetTestStep(name="credentials", well=True, detail=f"as {connection.user}")


def _refused_steps(error: WritError) -> Iterator[TargetTestStep]:
    if error.code in UNTRIED:
        yield TargetTestStep(name=UNTRIED[error.code], well=False, detail=str(error))
        return
    if error.code not in (*HOST_KEY, *CREDENTIALS):
        yield TargetTestStep(name="connection", well=False, detail=str(error))
        return
    yield TargetTestStep(name="connection", well=True)
    if error.code in HOST_KEY:
        yield TargetTestStep(name="host_key", well=False, detail=str(error))
        return
    yield TargetTestStep(name="host_key", well=True)
    yield TargetTestStep(name="credentials", well=False, detail=str(error))


def _silent(message: str) -> None:
    """Discard progress: nobody waits for it."""
