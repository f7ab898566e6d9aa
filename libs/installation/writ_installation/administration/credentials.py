"""Changes of the directory of people's credentials, signed by the people-key: a local act of the key's owner.

Each version is verified as policy and agents will before it replaces the file, so what they would refuse is refused
here, with the reason. A running Writ applies it before the next decision.
"""

import time
from pathlib import Path

from msgspec import structs

from writ_bus.private_files import read_private
from writ_contracts.errors import ConfigError, Invalid, Untrusted
from writ_contracts.people.attestations import AttestationRoot, RelyingParty
from writ_contracts.people.directory import (
    DirectoryEntry,
    PeopleDirectory,
    PeopleKeySuccession,
    Posture,
    SignedEnrolment,
)
from writ_contracts.signing import Signed
from writ_contracts.wire import decode, encode
from writ_documents.atomic_files import save
from writ_installation.files.home import Home
from writ_trust.keys import Key
from writ_trust.people import Directory, check_successor, open_directory, read_enrolment
from writ_trust.presence.certificates import fingerprint, read_authority
from writ_trust.presence.passkeys import check_relying_party, decoded, encoded
from writ_trust.statements import read, sign

TICK = 0.000_001
"""Seconds between two enrolments in one version: their order is by time."""


class CredentialsDirectory:
    """The directory in `$WRIT_HOME`, as it is and as it becomes."""

    def __init__(self, home: Home, key_file: Path | None = None) -> None:
        """`key_file`: the people-key, if it is elsewhere. Raises ConfigError for a directory that does not hold."""
        self._home = home
        self._key_file = key_file or home.people_seed
        self._people_key = home.people_key()
        self.current = self._read()

    @property
    def people_key(self) -> str:
        """Return the public half of the people-key in use."""
        return self._people_key if self.current is None else self.current.keys[-1]

    def enrol(self, enrolment: SignedEnrolment, posture: Posture | None = None) -> Directory:
        """Enrol the credential of an enrolment. Raises Untrusted where it does not hold, or nobody endorsed it."""
        version = self._next()
        last = max((one.enrolled_at for one in version.entries), default=0.0)
        entry = DirectoryEntry(enrolment=enrolment, enrolled_at=max(version.at, last + TICK))
        entries, at = [*version.entries, entry], max(version.at, entry.enrolled_at)
        becomes = posture or (version.posture if version.entries else "team")
        return self._write(structs.replace(version, entries=entries, posture=becomes, at=at))

    def remove(self, credential: str, reason: str) -> Directory:
        """Remove the credential with this id, or the one whose id begins so; it stops counting at once. Raises
        Invalid where there is none, or several.
        """
        version = self._next()
        ids = [read_enrolment(one.enrolment).credential.id if one.removed_at is None else "" for one in version.entries]
        place = _place(ids, credential, "credential", "writ credential list")
        entries = list(version.entries)
        removed_at = max(version.at, entries[place].enrolled_at)
        entries[place] = structs.replace(entries[place], removed_at=removed_at, removed_for=reason)
        return self._write(structs.replace(version, entries=entries))

    def rotate_key(self, new: Key) -> Directory:
        """Have another people-key sign from now on, named by the present one. Who pins the present one follows."""
        version = self._next()
        link = sign(self._key(), PeopleKeySuccession(next=new.public, at=version.at))
        return self._signed_by(new, structs.replace(version, successions=[*version.successions, link]))

    def become(self, posture: Posture) -> Directory:
        """Change the posture; from `team` there is no way back."""
        return self._write(structs.replace(self._next(), posture=posture))

    def record_root(self, certificate: bytes) -> Directory:
        """Record a maker's certificate authority, in DER: attestations enrolled from now on may rest on it. Raises
        Untrusted where it is none, Invalid where it is recorded.
        """
        read_authority(certificate)
        version, own = self._next(), encoded(certificate)
        if any(one.certificate == own and one.removed_at is None for one in version.attestation_roots):
            raise Invalid(f"root {fingerprint(certificate)[:12]} is recorded already")
        root = AttestationRoot(certificate=own, recorded_at=version.at)
        return self._write(structs.replace(version, attestation_roots=[*version.attestation_roots, root]))

    def remove_root(self, beginning: str) -> Directory:
        """Remove the root whose fingerprint begins so, for enrolments from now on; earlier ones stay attested."""
        version = self._next()
        roots = list(version.attestation_roots)
        ids = [fingerprint(decoded(one.certificate)) if one.removed_at is None else "" for one in roots]
        place = _place(ids, beginning, "attestation root", "writ credential root list")
        roots[place] = structs.replace(roots[place], removed_at=version.at)
        return self._write(structs.replace(version, attestation_roots=roots))

    def record_relying_party(self, rp_id: str, origin: str) -> Directory:
        """Record a place where passkeys of this installation may sign. Raises Invalid."""
        check_relying_party(rp_id, origin)
        version = self._next()
        if any((one.rp_id, one.origin) == (rp_id, origin) for one in version.relying_parties):
            raise Invalid(f"{rp_id} at {origin} is recorded already")
        party = RelyingParty(rp_id=rp_id, origin=origin, recorded_at=version.at)
        return self._write(structs.replace(version, relying_parties=[*version.relying_parties, party]))

    def _next(self) -> PeopleDirectory:
        """Return the version after the present one, still without a change."""
        if self.current is None:
            return PeopleDirectory(number=1, at=time.time(), posture="solo")  # from which both can follow
        version, at = read(self.current.signed, PeopleDirectory), max(time.time(), self.current.at)
        return structs.replace(version, number=version.number + 1, at=at)

    def _write(self, version: PeopleDirectory) -> Directory:
        return self._signed_by(self._key(), version)

    def _signed_by(self, key: Key, version: PeopleDirectory) -> Directory:
        signed = sign(key, version)
        made = open_directory(signed, [self._people_key], self._home.installation)
        if self.current is not None:
            check_successor(made, self.current)
        save(self._home.people_file, encode(signed))
        self.current = made
        return made

    def _key(self) -> Key:
        try:
            key = Key(read_private(self._key_file), self._home.installation)
        except Invalid as error:
            raise ConfigError(f"{self._key_file}: {error}; --people-key names the file of the people-key") from error
        if key.public != self.people_key:
            raise ConfigError(f"{self._key_file} is not the people-key of this installation, {self.people_key}")
        return key

    def _read(self) -> Directory | None:
        try:
            data = self._home.people_file.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return open_directory(decode(data, Signed), [self._people_key], self._home.installation)
        except (Invalid, Untrusted) as error:
            raise ConfigError(f"{self._home.people_file}: {error}") from error


def _place(ids: list[str], beginning: str, kind: str, command: str) -> int:
    """Return the place of the only id which begins so. Raises Invalid."""
    found = [place for place, known in enumerate(ids) if known and known.startswith(beginning)]
    if len(found) != 1:
        many = f"{len(found)} have" if found else f"no {kind} that counts has"
        raise Invalid(f"{many} an id that begins with {beginning[:64]!r}: `{command}`")
    return found[0]
