"""Recover from a policy under which nobody may publish: store a version signed by policy's own key.

It needs the key file of the policy service, which only the owner of `$WRIT_HOME` can read; no rule applies. The
version has the origin `file`, like the one of a new installation, and a control event records it with its reason.
"""

import os
import time
from collections.abc import Callable

from msgspec import Struct

from writ_bus.nats.bus import connect
from writ_bus.port import Bus, Entry
from writ_contracts import subjects
from writ_contracts.errors import Invalid, TimedOut, Unreachable, Untrusted
from writ_contracts.notices import Notice, NoticeReply
from writ_contracts.policy.versions import PolicyFile, StoredPolicy, of_file, packed
from writ_contracts.wire import decode, encode
from writ_documents.atomic_files import write_atomically
from writ_installation.files.home import Home
from writ_installation.files.lost_policy_key import VARIABLE, kept_former_keys
from writ_installation.server_access.server_options import options_of
from writ_installation.server_access.server_tls import client_tls
from writ_installation.status.reached_server import reached_server
from writ_trust.digests import plain_digest
from writ_trust.policy_versions import read_version
from writ_trust.statements import sign

RECORDED_WITHIN = 10.0


class Recovery(Struct, frozen=True, kw_only=True):
    """`recorded`: whether the journal has the version already; otherwise policy records it when it starts."""

    number: int
    recorded: bool


async def recover(
    home: Home,
    document: str,
    reason: str,
    url: str | None,
    show: Callable[[str], None],
    *,
    known: tuple[int, int] | None = None,
) -> Recovery:
    """Store the document as the next version. `url`: that of the NATS server in use; without one, and without
    `writ up`, a server is started for this. `known`: the numbers of the versions in force and stored last, as policy
    reports them; without them they are read from the store.

    Raises Conflict where another version was stored meanwhile, WritError or BusError where it could not be stored.
    """
    async with reached_server(home, url, show) as server:
        bus = await connect(options_of(home, "policy", server.url, client_tls(home, server.environ)))
        try:
            in_force, stored = known or await _in_force_and_stored(bus, home)
            # The file first: while it is another one, a policy service that starts makes a version of it.
            write_atomically(home.policy, document.encode())
            version = _version(home, document, reason, number=stored + 1, previous=in_force)
            await bus.policies.append(_entry(version, stored))
            recorded = server.services and await _record(bus, version)
        finally:
            await bus.drain(1.0)
    return Recovery(number=version.number, recorded=recorded)


async def _in_force_and_stored(bus: Bus, home: Home) -> tuple[int, int]:
    """Return both numbers as policy finds them: a version counts if its signatures are valid and no other one that
    counts was stored since the version under which it was allowed.
    """
    last = await bus.policies.last(subjects.POLICIES)
    stored, known = last.sequence if last else 0, dict[int, bool]()

    async def counts(number: int) -> bool:
        if number not in known:
            known[number] = False
            previous = await _previous(bus, home, number)
            between = range(number - 1, previous, -1) if previous is not None else ()
            known[number] = previous is not None and not any([await counts(one) for one in between])
        return known[number]

    for number in range(stored, 0, -1):
        if await counts(number):
            return number, stored
    return 0, stored


async def _previous(bus: Bus, home: Home, number: int) -> int | None:
    """Return the version under which this one was allowed, or None if it is not there, or not valid."""
    records = await bus.policies.read(subjects.POLICIES, after=number - 1, limit=1)
    try:
        return next(read_version(one, _policy_keys(home), home.installation)[1] for one in records)
    except (StopIteration, Invalid, Untrusted):
        return None


def _policy_keys(home: Home) -> set[str]:
    """Return all keys whose versions policy accepts, also those that were lost."""
    lost = os.environ.get(VARIABLE) or kept_former_keys(home)
    return {*home.policy_keys(), *(one.strip().partition("@")[0] for one in lost.split(",") if one.strip())}


def _version(home: Home, document: str, reason: str, *, number: int, previous: int) -> StoredPolicy:
    at, digest = time.time(), plain_digest(document.encode())
    signed = sign(home.key("policy"), PolicyFile(number=number, previous=previous, digest=digest, at=at))
    return StoredPolicy(
        number=number,
        packed=packed(document),
        digest=digest,
        author="file",
        origin="file",
        at=at,
        reason=reason,
        file=signed,
    )


def _entry(version: StoredPolicy, stored: int) -> Entry:
    return Entry(
        subject=subjects.POLICY_FILE,
        data=encode(version),
        event_id=f"recovered-{version.number}-{version.digest}",
        filter=subjects.POLICIES,
        expected=stored,
    )


async def _record(bus: Bus, version: StoredPolicy) -> bool:
    """Record the version in the journal; return false if no executor replies."""
    notice = Notice(kind="file_version", detail=of_file(version), version=version.number, digest=version.digest)
    try:
        answer = await bus.request(subjects.NOTICE_POLICY, encode(notice), timeout=RECORDED_WITHIN)
    except (Unreachable, TimedOut):
        return False
    if (failure := decode(answer.data, NoticeReply).error) is not None:
        raise Unreachable(f"version {version.number} is stored, but not recorded in the journal: {failure.message}")
    return True
