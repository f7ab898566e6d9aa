"""`params.key`: the executors' shared keys, in the folder of an installation.

A rotation adds the next key, then puts it in use. No key is removed: digests on record are under them.
"""

import secrets
from pathlib import Path

from writ_bus.private_files import LARGEST_KEY
from writ_contracts.errors import Conflict
from writ_documents.atomic_files import write_atomically
from writ_runtime.files.parameter_keys import read_parameter_keys
from writ_trust.parameter_keys import SIZE, ParameterKeys, format_keys, shared_key_id

PARAMS = "params"
"""The name of these keys in lists and in `keyring.json`. Each has an id, which reveals nothing of it."""


def make_parameter_key(path: Path) -> None:
    """Make the file with a first key, unless it is there."""
    if not path.exists():
        write_atomically(path, format_keys(ParameterKeys(used=(secrets.token_bytes(SIZE),))))


def id_in_use(path: Path) -> str:
    """Return the id of the key in use. Raises ConfigError."""
    return shared_key_id(read_parameter_keys(path).used[0])


def next_id(path: Path) -> str:
    """Return the id of the next key, made now if there is none. Raises Conflict where the file is full."""
    keys = read_parameter_keys(path)
    if keys.next is None:
        keys = ParameterKeys(used=keys.used, next=secrets.token_bytes(SIZE))
        content = format_keys(keys)
        if len(content) > LARGEST_KEY:
            raise Conflict(f"{path} is full: remove its last line, whose operations nobody asks about any more")
        write_atomically(path, content)
    return shared_key_id(keys.next or b"")


def holds_next(path: Path, announced: str) -> bool:
    """Return whether the file has the announced key."""
    following = read_parameter_keys(path).next
    return following is not None and shared_key_id(following) == announced


def use_next(path: Path, announced: str) -> None:
    """Put the announced key in use. Raises Conflict where the file holds another one."""
    keys = read_parameter_keys(path)
    if keys.next is not None and shared_key_id(keys.next) == announced:
        write_atomically(path, format_keys(ParameterKeys(used=(keys.next, *keys.used))))
    if id_in_use(path) != announced:
        raise Conflict(
            f"{path} does not hold the announced key, {announced}: if that is lost, run `writ keys lost {PARAMS}`"
        )
