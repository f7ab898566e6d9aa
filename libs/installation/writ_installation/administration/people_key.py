"""Rotation of the people-key: the old key names the new one in a version of the directory, which the new one signs.

Policy and agents that pin the old key follow it, and never go back. An interrupted rotation goes on.
"""

import time
from pathlib import Path

from msgspec import structs

from writ_bus.private_files import read_private
from writ_contracts.installation.keyring import KeyEntry
from writ_documents import atomic_files
from writ_documents.atomic_files import write_atomically
from writ_installation.administration.credentials import CredentialsDirectory
from writ_installation.administration.key_rotation import RotationStep
from writ_installation.files.create import write_public
from writ_installation.files.home import PEOPLE, Home
from writ_installation.files.keyring import save_keys
from writ_installation.initialise import refresh_environment
from writ_trust.keys import Key, generate_seed


def rotate_people_key(home: Home, key_file: Path | None = None) -> RotationStep:
    """Replace the people-key. `key_file`: its private half, if it is elsewhere; the new one takes its place there.
    Raises ConfigError where the file has another key.
    """
    file = key_file or home.people_seed
    directory, new = CredentialsDirectory(home, file), _next_key(home, file)
    if directory.people_key != new.public:
        directory.rotate_key(new)
    _next_file(file).replace(file)
    atomic_files.sync_folder(file.parent)
    write_public(home, new.public)
    refresh_environment(home)
    keys = directory.current.keys if directory.current is not None else ()
    _record(home, keys, file.stat().st_mtime)
    return RotationStep(name=PEOPLE, step="retired", old=keys[-2], new=new.public)


def _next_file(file: Path) -> Path:
    return file.with_name(f"{file.stem}.next{file.suffix}")


def _next_key(home: Home, file: Path) -> Key:
    if not _next_file(file).exists():
        write_atomically(_next_file(file), generate_seed() + b"\n")
    return Key(read_private(_next_file(file)), home.installation)


def _record(home: Home, keys: tuple[str, ...], since: float) -> None:
    """List the keys in `keyring.json`, a change of which policy has recorded."""
    ring, now = home.keyring(), time.time()
    known = {one.key: one for one in ring.of(PEOPLE)}
    earlier = [known.get(key, _entry(key, since)) for key in keys[:-1]]
    former = [structs.replace(one, state="former", until=one.until or now) for one in earlier]
    others = [one for one in ring.keys if one.name != PEOPLE]
    save_keys(home.keyring_file, [*others, *former, _entry(keys[-1], now)])


def _entry(key: str, since: float) -> KeyEntry:
    return KeyEntry(name=PEOPLE, key=key, state="current", since=since)
