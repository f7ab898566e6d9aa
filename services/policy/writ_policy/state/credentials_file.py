"""The signed directory of people's credentials, read from its file before every decision.

Somebody who can write the file cannot change the directory: the people-key signed it, and a version that undoes
something is refused. The last good version stays in force, even if the file is deleted.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from writ_contracts.errors import Invalid, Unreachable, Untrusted, WritError
from writ_contracts.notices import Notice
from writ_contracts.people.directory import LARGEST_DIRECTORY
from writ_contracts.signing import Signed
from writ_contracts.wire import decode
from writ_runtime.files.people_directory import KnownDirectory
from writ_runtime.files.watched_file import Stamp, stamp
from writ_runtime.logs import Log
from writ_trust.people import Directory
from writ_trust.presence.certificates import fingerprint
from writ_trust.presence.passkeys import decoded

MOST_NAMED = 10
LARGEST_FILE = 2 * LARGEST_DIRECTORY

_log = Log("writ.policy")


class CredentialsFile:
    """The directory in force, and the problem of the present file.

    `value` is in force; `problem` is None if the file is good.
    """

    def __init__(self, path: Path | None, known: KnownDirectory, send_notice: Callable[[Notice], None]) -> None:
        self._path = path
        self._name = str(path or "")
        self._known = known
        self._send_notice = send_notice
        self._stamp: Stamp | None = None
        self._reading = asyncio.Lock()
        self.problem: str | None = None

    @property
    def value(self) -> Directory | None:
        return self._known.value

    async def refresh(self) -> None:
        """Read the file again if it changed. Never raises: if the file is bad, the last good version stays in force."""
        if self._path is None or self.is_current:
            return
        async with self._reading:
            if not self.is_current:
                now = stamp(self._path)
                if await self._read(self._path):
                    self._stamp = now

    @property
    def is_current(self) -> bool:
        """Return whether the file is as it was read."""
        return not self._name or stamp(self._name) == self._stamp

    async def _read(self, path: Path) -> bool:
        """Return true if the file was accepted or refused; otherwise it is read again."""
        before = self.value
        try:
            if (signed := await asyncio.to_thread(_content, path)) is not None:
                await asyncio.to_thread(self._known.take, signed)
            elif before is not None:
                raise Invalid(f"{path} is gone")
        except (OSError, WritError) as error:
            self._refused(error)
            return not isinstance(error, Unreachable)
        self.problem = None
        if (after := self.value) is not None and after is not before:
            self._send_notice(_changed(before, after))
        return True

    def _refused(self, error: OSError | WritError) -> None:
        """Report a new problem. One of trust is a security event; a file that cannot be read is a mistake. Audit
        reports a file that stays damaged.
        """
        if str(error)[:1000] == self.problem:
            return
        self.problem = str(error)[:1000]
        _log.error("people.refused", error=self.problem, effect="the last good version stays")
        if isinstance(error, Untrusted):
            self._send_notice(Notice(kind="people_refused", detail=self.problem))
        else:
            detail = "the people file cannot be used: the last good version stays in force"
            self._send_notice(Notice(kind="file_refused", detail=detail))


def _content(path: Path) -> Signed | None:
    try:
        with path.open("rb") as file:
            return decode(file.read(LARGEST_FILE + 1), Signed, limit=LARGEST_FILE)
    except FileNotFoundError:
        return None


def _changed(before: Directory | None, after: Directory) -> Notice:
    """Return the notice of a new version, with the credentials that were added and removed."""
    earlier = before.entries if before is not None else {}
    changes = [
        f"{'enrolled' if key not in earlier else 'removed'} {one.credential.method} of {one.credential.person}, "
        f"worth {one.presence.proof}, {f'on a device {one.device}' if one.device else 'unattested'} ({key[:12]})"
        for key, one in after.entries.items()
        if key not in earlier or earlier[key].removed_at != one.removed_at
    ]
    changes += _changed_bounds(before, after)
    more = f"; and {len(changes) - MOST_NAMED} more" if len(changes) > MOST_NAMED else ""
    signer = after.keys[-1]
    if before is not None and before.keys[-1] != signer:
        changes.insert(0, f"people-key {signer[:12]} follows {before.keys[-1][:12]}")
    detail = f"posture {after.posture}; {'; '.join(changes[:MOST_NAMED]) or 'no credential changed'}{more}"
    return Notice(kind="people_version", detail=detail[:1000], version=after.name.number, digest=after.name.digest)


def _changed_bounds(before: Directory | None, after: Directory) -> list[str]:
    """Return the roots and relying parties that were added and removed."""
    parties, roots = (before.relying_parties, before.attestation_roots) if before is not None else ((), ())
    changes = [f"passkeys of {one.rp_id} sign at {one.origin}" for one in after.relying_parties[len(parties) :]]
    for place, one in enumerate(after.attestation_roots):
        if place >= len(roots) or roots[place].removed_at != one.removed_at:
            change = "recorded" if one.removed_at is None else "removed"
            changes.append(f"{change} attestation root {fingerprint(decoded(one.certificate))[:12]}")
    return changes
