"""The file `keyring.json` in the folder of an installation."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from writ_contracts.installation.keyring import KeyEntry, Keyring
from writ_documents import atomic_files
from writ_trust.digests import plain_digest


def digest_of(path: Path) -> str:
    """Return the digest of the file's content; "" without one."""
    try:
        return plain_digest(path.read_bytes())
    except FileNotFoundError:
        return ""


def save_keys(path: Path, keys: Sequence[KeyEntry]) -> None:
    atomic_files.save(path, msgspec.json.format(msgspec.json.encode(Keyring(keys=list(keys)))))
