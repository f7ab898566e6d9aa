"""The steps of a key's rotation on a running installation, each awaited until all of its processes follow."""

import asyncio
import os
import time
from collections.abc import Callable

from writ_bus.nats.bus import connect
from writ_contracts import subjects
from writ_contracts.errors import Invalid, TimedOut, Unreachable
from writ_contracts.installation.keyring import POLICY
from writ_installation.administration.key_rotation import (
    LEAF,
    LastRecords,
    RotationStep,
    announce,
    pending,
    pools_elsewhere,
    retire,
    switch,
)
from writ_installation.files.home import Home
from writ_installation.files.keyring import KeyDigests, key_digests
from writ_installation.files.lock import held, holder
from writ_installation.initialise import refresh_environment
from writ_installation.processes.report import InstallationReport, read_report
from writ_installation.server_access.server_options import options_of
from writ_installation.server_access.server_tls import client_tls
from writ_installation.status.server_url import running_url

FOLLOWED_WITHIN = 180.0
SETTLE = 10.0
"""Seconds in which the last signatures of the old key are stored and used: an agent repeats a lost request after 5."""
PAUSE = 0.05
Tell = Callable[[RotationStep], None]


async def rotate(home: Home, name: str, tell: Tell, *, settle: float = SETTLE, hosts_ready: bool = False) -> None:
    """Take all remaining steps, or one where the system starts the services. A link of a site stops before its old
    key is refused: the site needs its new files first. Raises Conflict while another rotation
    goes on, Invalid for an unknown name or where agents elsewhere do not know the new key yet, TimedOut.
    """
    with held(home.root / ".rotation.lock", "a key is being rotated in"):
        while True:
            made = await _step(home, name, settle, hosts_ready)
            refresh_environment(home)
            tell(made)
            await followed(home)
            if made.step == "retired" or not supervised(home) or (made.step == "switched" and name.startswith(LEAF)):
                return


def supervised(home: Home) -> bool:
    """Return whether the processes follow by themselves, or there are none."""
    return not home.split and not home.in_containers


def in_containers(home: Home) -> str:
    """Return what to do before policy's key is switched."""
    return (
        "agents must trust policy's new key first: run `init` again, which writes WRIT_POLICY_KEY into .env, then "
        f"`docker compose up --detach --wait`. On agents elsewhere set {_both_keys(home)} and start them again. Then "
        "rotate with --hosts-ready"
    )


def _both_keys(home: Home) -> str:
    return f"WRIT_POLICY_KEY={','.join(home.keys_of(POLICY))}"


async def _step(home: Home, name: str, settle: float, hosts_ready: bool) -> RotationStep:
    match pending(home, name):
        case "announced":
            return announce(home, name)
        case "switched":
            if name == POLICY and not hosts_ready and (pools := pools_elsewhere(home)):
                if home.in_containers:
                    raise Invalid(in_containers(home))
                raise Invalid(
                    f"agents on other hosts (pools {', '.join(pools)}) must trust policy's new key first: set "
                    f"{_both_keys(home)} there, start them again, and rotate with --hosts-ready"
                )
            return switch(home, name)
        case "retired":
            return retire(home, name, await _ends(home, settle) if name == POLICY else LastRecords())


async def followed(home: Home, within: float = FOLLOWED_WITHIN) -> None:
    """Return once a running `writ up` has the present keys in force, or where none runs. Raises TimedOut."""
    deadline = time.monotonic() + within
    while not home.split and holder(home.lock) is not None:
        report, present = read_report(home.report_file), key_digests(home)
        if report is not None and report.state == "ready" and _in_force(report, present):
            return
        if time.monotonic() > deadline:
            problem = report.problem if report is not None else ""
            raise TimedOut(
                f"the keys are not in force after {within:g} s: {problem or 'see its log'}. Repeat the command"
            )
        await asyncio.sleep(PAUSE)


def _in_force(report: InstallationReport, present: KeyDigests) -> bool:
    """Return whether both files are. Between the changes of the two, the supervisor may apply the first.

    A `writ up` of an earlier release does not report `agents.yaml`.
    """
    return report.keyring == present.keyring and report.agents in {"", present.agents}


async def _ends(home: Home, settle: float) -> LastRecords:
    """Return the present ends of the journal and of the versions. Raises Unreachable where NATS is not there."""
    url = running_url(home) or os.environ.get("NATS_URL")
    if not url:
        raise Unreachable("policy's old key counts until an event of the journal: start Writ, and rotate again")
    await asyncio.sleep(settle)
    bus = await connect(options_of(home, POLICY, url, client_tls(home, os.environ)))
    try:
        usage, version = await bus.journal.usage(), await bus.policies.last(subjects.POLICIES)
    finally:
        await bus.drain(1.0)
    return LastRecords(event=usage.last_sequence, version=version.sequence if version else 0)
