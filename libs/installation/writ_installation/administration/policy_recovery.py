"""Recover from a policy under which nobody may publish: store a version signed by policy's own key.

It needs the key file of the policy service, which only the owner of `$WRIT_HOME` can read; no rule applies. The
version has the origin `file`, like the one of a new installation, and a control event records it with its reason.
"""

import os
import time

from writ_bus.nats.bus import connect
from writ_bus.port import Bus, Entry
from writ_contracts import subjects
from writ_contracts.errors import Unreachable
from writ_contracts.notices import Notice, NoticeReply
from writ_contracts.policy.versions import PolicyFile, StoredPolicy, packed
from writ_contracts.wire import decode, encode
from writ_documents.atomic_files import write_atomically
from writ_installation.files.home import Home
from writ_installation.server_access.server_options import options_of
from writ_installation.server_access.server_tls import client_tls
from writ_trust.digests import plain_digest
from writ_trust.statements import sign

RECORDED_WITHIN = 10.0


async def recover(home: Home, url: str, document: str, reason: str, *, in_force: int, stored: int) -> int:
    """Store the document as the next version, and return its number. `in_force`, `stored`: as policy reports them.

    Raises Conflict where another version was stored meanwhile, Unreachable where no executor recorded it.
    """
    # The file first: while it is another one, a policy service that starts makes a version of it.
    write_atomically(home.policy, document.encode())
    bus = await connect(options_of(home, "policy", url, client_tls(home, os.environ)))
    try:
        version = _version(home, document, reason, number=stored + 1, previous=in_force)
        await bus.policies.append(_entry(version, stored))
        await _record(bus, version, reason)
    finally:
        await bus.drain(1.0)
    return version.number


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


async def _record(bus: Bus, version: StoredPolicy, reason: str) -> None:
    detail = f"recovered by the owner of the installation: {reason}"[:1000]
    notice = Notice(kind="file_version", detail=detail, version=version.number, digest=version.digest)
    answer = await bus.request(subjects.NOTICE_POLICY, encode(notice), timeout=RECORDED_WITHIN)
    if (failure := decode(answer.data, NoticeReply).error) is not None:
        raise Unreachable(f"version {version.number} is stored, but not recorded in the journal: {failure.message}")
