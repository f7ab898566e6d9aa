"""The file `keyring.json` in the folder of an installation, and the digests of the files that say which keys count."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from writ_contracts.installation.keyring import KeyEntry, Keyring
from writ_documents import atomic_files
from writ_installation.files.home import Home
from writ_trust.digests import plain_digest


class KeyDigests(NamedTuple):
    """Digests of `keyring.json` and `agents.yaml`, by which NATS and services accept keys; "" without the file."""

    keyring: str = ""
    agents: str = ""


def key_digests(home: Home) -> KeyDigests:
    """Return those of the present files."""
    return KeyDigests(_digest_of(home.keyring_file), _digest_of(home.agents))


def _digest_of(path: Path) -> str:
    try:
        return plain_digest(path.read_bytes())
    except FileNotFoundError:
        return ""


def save_keys(path: Path, keys: Sequence[KeyEntry]) -> None:
    atomic_files.save(path, msgspec.json.format(msgspec.json.encode(Keyring(keys=list(keys)))))
