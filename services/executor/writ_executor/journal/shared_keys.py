"""The keys that executors share (`params.key`): one for what is new, and others for what was made before.

The file is checked at each use of the first key and whenever another is needed, so a rotation counts at once, without a
restart. An unusable file changes nothing.
"""

from contextlib import suppress
from functools import cached_property
from pathlib import Path

from writ_contracts.errors import ConfigError, Untrusted
from writ_runtime.files.parameter_keys import read_parameter_keys
from writ_runtime.files.watched_file import Stamp, stamp
from writ_runtime.logs import Log
from writ_trust.digests import derive
from writ_trust.parameter_keys import ParameterKeys, shared_key_id
from writ_trust.sealing import decrypt, encrypt, encrypt_large

_log = Log("writ.keys")


class OperationKeys:
    """The keys of one operation's digests, derived from a shared key: nobody else can guess a short secret from its
    digest.
    """

    def __init__(self, key: bytes, key_id: str, operation_id: str) -> None:
        self._key = key
        self._operation_id = operation_id
        self.key_id = key_id
        """Names the shared key; it is recorded with the operation."""

    @cached_property
    def parameters(self) -> str:
        """Return the key for digests of the operation's effective parameters."""
        return derive(self._key, "parameters", self._operation_id)

    @property
    def fingerprint(self) -> str:
        """Return the key of the digest by which a repeated request differs from another one with its idempotency
        key.
        """
        return derive(self._key, "fingerprint", self._operation_id)

    @cached_property
    def read_grant(self) -> str:
        """Return the key for the digest in a read grant. Agents learn it; it opens nothing else."""
        return derive(self._key, "look", self._operation_id)

    @property
    def search(self) -> bytes:
        """Return the key for search digests, which is the same for all operations."""
        return _search_key(self._key)


class SharedKeys:
    """All keys of the file: the one in use, former ones, and the next one."""

    def __init__(self, keys: ParameterKeys, path: Path | None = None) -> None:
        """`path`: the file in which later changes are found."""
        self._path = path
        self._stamp: Stamp | None = None
        self._take(keys)

    @classmethod
    def read(cls, path: Path) -> "SharedKeys":
        """Return the keys of a file. Raises ConfigError."""
        before = stamp(path)
        keys = cls(read_parameter_keys(path), path)
        keys._stamp = before
        return keys

    def new(self, operation_id: str) -> OperationKeys:
        """Return the keys of an operation that begins now."""
        self._refresh()
        return OperationKeys(self._known[self._in_use], self._in_use, operation_id)

    def find(self, operation_id: str, key_id: str) -> OperationKeys | None:
        """Return the keys of a recorded operation; None where the shared key is not in the file. Operations older than
        the first rotation name none: theirs is the oldest one.
        """
        if key_id and key_id not in self._known:
            self._refresh()
        name = key_id or self._oldest
        return OperationKeys(self._known[name], name, operation_id) if name in self._known else None

    def each(self, operation_id: str) -> list[OperationKeys]:
        """Return the keys of an operation under every shared key."""
        self._refresh()
        return [OperationKeys(key, key_id, operation_id) for key_id, key in self._known.items()]

    def search_keys(self) -> dict[str, bytes]:
        """Return the key for search digests under every shared key, by the name of the shared key."""
        self._refresh()
        return {key_id: _search_key(key) for key_id, key in self._known.items()}

    def encrypt(self, data: bytes) -> bytes:
        """Return `data` encrypted under the key in use."""
        self._refresh()
        return encrypt(self._known[self._in_use], data)

    def encrypt_large(self, data: bytes) -> bytes:
        """Return large `data` encrypted, by way of a key of its own. An executor without AES does not read it."""
        self._refresh()
        return encrypt_large(self._known[self._in_use], data)

    def decrypt(self, data: bytes) -> bytes:
        """Return the plain bytes. Raises Untrusted where no key opens them."""
        try:
            return self._opened(data)
        except Untrusted:
            if not self._refresh():
                raise
        return self._opened(data)

    def _opened(self, data: bytes) -> bytes:
        *others, last = self._known.values()
        for key in others:
            with suppress(Untrusted):
                return decrypt(key, data)
        return decrypt(last, data)

    def _take(self, keys: ParameterKeys) -> None:
        following = [] if keys.next is None else [keys.next]
        self._known = {shared_key_id(key): key for key in (*keys.used, *following)}
        self._in_use, self._oldest = shared_key_id(keys.used[0]), shared_key_id(keys.used[-1])

    def _refresh(self) -> bool:
        """Return true if the file has changed and was read again."""
        if self._path is None or (now := stamp(self._path)) is None or now == self._stamp:
            return False
        self._stamp = now
        try:
            self._take(read_parameter_keys(self._path))
        except ConfigError as error:
            _log.error("keys.refused", error=str(error), effect="the last good version stays")
            return False
        return True


def _search_key(key: bytes) -> bytes:
    return bytes.fromhex(derive(key, "search", ""))
