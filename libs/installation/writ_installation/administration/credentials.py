"""Changes of the directory of people's credentials, signed by the people-key: a local act of the key's owner.

Each version is verified as policy and agents will before it replaces the file, so what they would refuse is refused
here, with the reason. A running Writ applies it before the next decision.
"""

import time
from pathlib import Path

from msgspec import structs

from writ_bus.private_files import read_private
from writ_contracts.errors import ConfigError, Invalid, Untrusted
from writ_contracts.people import DirectoryEntry, PeopleDirectory, PeopleKeySuccession, Posture, SignedEnrolment
from writ_contracts.signing import Signed
from writ_contracts.wire import decode, encode
from writ_documents.atomic_files import save
from writ_installation.files.home import Home
from writ_trust.keys import Key
from writ_trust.people import Directory, check_successor, open_directory, read_enrolment
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

    def enroll(self, enrolment: SignedEnrolment, posture: Posture | None = None) -> Directory:
        """Enrol the credential of an enrolment. Raises Untrusted where it does not hold, or nobody endorsed it."""
        entries = self._entries()
        at = self._now()
        last = max((one.enrolled_at for one in entries), default=0.0)
        entry = DirectoryEntry(enrolment=enrolment, enrolled_at=max(at, last + TICK))
        return self._write([*entries, entry], posture or self._posture(), max(at, entry.enrolled_at))

    def remove(self, credential: str, reason: str) -> Directory:
        """Remove the credential with this id, or the one whose id begins so; it stops counting at once. Raises
        Invalid where there is none, or several.
        """
        entries, at = self._entries(), self._now()
        ids = [read_enrolment(one.enrolment).credential.id if one.removed_at is None else "" for one in entries]
        found = [place for place, known in enumerate(ids) if known and known.startswith(credential)]
        if len(found) != 1:
            many = f"{len(found)} credentials have" if found else "no credential that counts has"
            raise Invalid(f"{many} an id that begins with {credential[:64]!r}: `writ credential list`")
        place = found[0]
        changed = structs.replace(entries[place], removed_at=max(at, entries[place].enrolled_at), removed_for=reason)
        return self._write([*entries[:place], changed, *entries[place + 1 :]], self._posture(), at)

    def rotate_key(self, new: Key) -> Directory:
        """Have another people-key sign from now on, named by the present one. Who pins the present one follows."""
        at = self._now()
        link = sign(self._key(), PeopleKeySuccession(next=new.public, at=at))
        posture = self.current.posture if self.current is not None else "solo"  # from which both can follow
        return self._signed_by(new, self._entries(), posture, at, [*self._successions(), link])

    def become(self, posture: Posture) -> Directory:
        """Change the posture; from `team` there is no way back."""
        return self._write(self._entries(), posture, self._now())

    def _write(self, entries: list[DirectoryEntry], posture: Posture, at: float) -> Directory:
        return self._signed_by(self._key(), entries, posture, at, self._successions())

    def _signed_by(
        self, key: Key, entries: list[DirectoryEntry], posture: Posture, at: float, successions: list[Signed]
    ) -> Directory:
        number = self.current.name.number + 1 if self.current is not None else 1
        version = PeopleDirectory(number=number, at=at, posture=posture, entries=entries, successions=successions)
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

    def _entries(self) -> list[DirectoryEntry]:
        return [] if self.current is None else read(self.current.signed, PeopleDirectory).entries

    def _successions(self) -> list[Signed]:
        return [] if self.current is None else read(self.current.signed, PeopleDirectory).successions

    def _posture(self) -> Posture:
        return self.current.posture if self.current is not None and self.current.entries else "team"

    def _now(self) -> float:
        return max(time.time(), self.current.at if self.current is not None else 0.0)
