"""Policy's public keys, as its verifiers know them: from `keyring.json` once a key was rotated, else from the
environment.

The file is checked on each use, so a key that was revoked there no longer counts. An unusable file changes
nothing.
"""

import sys
from collections.abc import Callable, Collection, ItemsView, Iterator, Mapping
from pathlib import Path

import msgspec

from writ_contracts.errors import ConfigError
from writ_contracts.installation.keyring import POLICY, Keyring
from writ_runtime.files.watched_file import Stamp, stamp
from writ_runtime.logs import Log
from writ_trust.digests import plain_digest
from writ_trust.keys import decode_public

LARGEST = 1 << 20
_log = Log("writ.keys")


class KeyRanges(Mapping[str, int]):
    """Keys with the last event or version for which each counts, as of now."""

    def __init__(self, read: Callable[[], Mapping[str, int]]) -> None:
        self._read = read

    def __getitem__(self, key: str) -> int:
        return self._read()[key]

    def __contains__(self, key: object) -> bool:
        return key in self._read()

    def items(self) -> ItemsView[str, int]:
        """Return the items as of one reading of the file."""
        return self._read().items()

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())


class PolicyKeys:
    """`live`: keys for what happens now. `events`, `versions`: these and former ones, for what is on record."""

    def __init__(
        self,
        text: str,
        path: Path | None,
        *,
        own: str = "",
        former: Mapping[str, int] | None = None,
        former_versions: Mapping[str, int] | None = None,
    ) -> None:
        """`text`: the keys in the environment, which count until there is a file. `own`: policy's, in policy itself.
        `former`: further keys with their last event, `former_versions` with their last version. Raises Invalid for a
        key that is none, ConfigError for an unusable file.
        """
        self._configured = dict.fromkeys(filter(None, (*map(str.strip, text.split(",")), own)), sys.maxsize)
        for key in self._configured:
            decode_public(key)
        self._path, self._own = path, own
        self._name = str(path or "")
        self._former, self._former_versions = dict(former or {}), dict(former_versions or {})
        self._stamp: Stamp | None = None
        self._ring: Keyring | None = None
        self._ranges: dict[str, Mapping[str, int]] = {}
        """By kind; empty after each reading of the file."""
        self.digest = ""
        """Of the file's content; empty without one."""
        self.problem: str | None = None
        self.live: Collection[str] = KeyRanges(lambda: self._range("live"))
        self.events: Mapping[str, int] = KeyRanges(lambda: self._range("events"))
        self.versions: Mapping[str, int] = KeyRanges(lambda: self._range("versions"))
        if path is not None and stamp(path) is not None:
            self._read(path)

    @property
    def ring(self) -> Keyring:
        """Return the last usable content of the file; empty without one."""
        self._refresh()
        return self._ring or Keyring()

    def at(self, time: float) -> Collection[str]:
        """Return the keys that policy signed with at that time, Unix seconds."""
        return self.ring.at(POLICY, time) if self.ring.of(POLICY) else self._configured.keys()

    def retired(self) -> str | None:
        """Return a problem if policy's own key counts no more: this process must be started again with the new one."""
        ring = self.ring
        if not self._own or not ring.of(POLICY) or self._own in ring.live(POLICY):
            return None
        return "this process signs with a key that was rotated: start it again"

    def _range(self, kind: str) -> Mapping[str, int]:
        """Return the keys of this kind, computed once for each content of the file."""
        self._refresh()
        known = self._ranges.get(kind)
        if known is None:
            known = self._ranges[kind] = self._compute(kind)
        return known

    def _compute(self, kind: str) -> Mapping[str, int]:
        ring = self._ring or Keyring()
        rotated = bool(ring.of(POLICY))
        if kind == "versions":
            return {**self._former_versions, **(ring.versions(POLICY) if rotated else self._configured)}
        events = ring.events(POLICY) if rotated else self._configured
        if kind == "live":
            return {key: last for key, last in events.items() if last == sys.maxsize}
        return {**self._former, **events}

    def _refresh(self) -> None:
        if self._path is None or (now := stamp(self._name)) is None or now == self._stamp:
            return
        try:
            self._read(self._path)
        except ConfigError as error:
            self._stamp = now
            self.problem = str(error)
            _log.error("keys.refused", error=self.problem, effect="the last good version stays")

    def _read(self, path: Path) -> None:
        now = stamp(path)
        data, self._ring = read_keyring(path)
        self._ranges = {}
        self._stamp, self.problem, self.digest = now, None, plain_digest(data)


def read_keyring(path: Path) -> tuple[bytes, Keyring]:
    """Return the file's content, raw and decoded. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        return data, msgspec.json.decode(data, type=Keyring)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
