"""The owners of public keys by principals.yaml and agents.yaml, and whether a key was only just admitted."""

from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from writ_audit.server_log.file_times import to_monotonic
from writ_contracts.errors import ConfigError
from writ_contracts.installation.account_names import AccountOwner
from writ_contracts.installation.known_changes import KnownChanges
from writ_contracts.inventory import Principal
from writ_contracts.people.principal_changes import is_active, principals_in_force
from writ_documents.principal_changes import CHANGES, read_principal_changes
from writ_documents.readers import read_agents, read_principals
from writ_runtime.files.watched_file import Stamp, stamp
from writ_runtime.logs import Log

LARGEST = 64 << 20

_log = Log("writ.audit")


class KeyFile(Struct, frozen=True, kw_only=True):
    """A file that admits keys, and its reader."""

    path: Path
    owners: Callable[[Path], dict[str, AccountOwner]]


class KeyOwners:
    """Looks keys up in the files as they are at that time. It reads files: call it in a thread."""

    def __init__(self, principals: Path | None, agents: Path | None, server_config: Path | None) -> None:
        """`server_config`: of NATS, which names the keys of sessions, tokens and links, too."""
        self.gateways: Mapping[str, str] = {}
        """The gateways of principals, also of disabled ones, by principals.yaml as it was last read."""
        pairs = ((principals, self._principals), (agents, _agents), (server_config, _nobody))
        self._files = [KeyFile(path=path, owners=owners) for path, owners in pairs if path is not None]
        self._known: dict[Path, tuple[Stamp | None, dict[str, AccountOwner]]] = {}
        self.disabled: Mapping[str, AccountOwner] = {}
        """The present keys of principals that are disabled, or whose human is, by the file or by an operation, as last
        read; no key that was replaced, since a thief may have it."""
        self._listed: list[Principal] = []
        self._changes = agents and agents.with_name(CHANGES)
        self._known_changes = KnownChanges()
        self._changes_read: Stamp | None = None
        self._disabled_of: list[Principal] | None = None
        """The list of principals from which `disabled` was computed."""
        self._of_access = {path for path in (principals, self._changes) if path is not None}
        watched = self._of_access.union(one.path for one in self._files)
        self._stamps = {path: stamp(path) for path in watched}
        self._changed = {path: at for path in watched if (at := _changed_at(path)) is not None}

    def has_changed(self, now: float) -> bool:
        """Return whether a file has changed since the last call."""
        changed = {path: present for path, before in self._stamps.items() if (present := stamp(path)) != before}
        self._stamps.update(changed)
        self._changed.update(dict.fromkeys(changed, now))
        return bool(changed)

    def access_changed_since(self, at: float) -> bool:
        """Return whether a file by which principals have access was seen to change after this time."""
        return any(self._changed.get(path, at - 1) >= at for path in self._of_access)

    def owner(self, key: str) -> AccountOwner | None:
        """Return the owner of a key, or None if the files name none."""
        return next((found for one in self._files if (found := self._owners(one).get(key))), self.disabled.get(key))

    def read(self) -> None:
        """Read the files that have changed."""
        for one in self._files:
            self._owners(one)
        if self._changes_are_new() or self._disabled_of is not self._listed:
            self.disabled, self._disabled_of = self._disabled(), self._listed

    def _changes_are_new(self) -> bool:
        """Read the changes if their file has changed. Return whether they were read."""
        now = None if self._changes is None else stamp(self._changes)
        if self._changes is None or now is None or now == self._changes_read:  # a file that is lost is written again
            return False
        try:
            self._known_changes = read_principal_changes(self._changes)
        except ConfigError as error:  # the provisioner reports it; the last good content stays
            _log.warning("keys.not_read", path=str(self._changes), error=str(error)[:1000])
            return False
        self._changes_read = now
        return True

    def _disabled(self) -> dict[str, AccountOwner]:
        known = principals_in_force(self._listed, (one.change for one in self._known_changes.changes))
        return {one.key: _owner(one) for one in known.values() if not is_active(one, known)}

    def admitted(self, tried: Mapping[str, float]) -> set[str]:
        """Return the keys that a file names which was seen to change after this time: NATS may not have read it when
        the key was tried.
        """
        found = set[str]()
        for path in [one.path for one in self._files if one.path in self._changed]:
            changed = self._changed[path]
            content = _content(path)
            found.update(key for key, after in tried.items() if changed >= after and key.encode() in content)
        return found

    def _owners(self, file: KeyFile) -> dict[str, AccountOwner]:
        now = stamp(file.path)
        before, owners = self._known.get(file.path, (None, {}))
        if now is not None and now != before:
            try:
                owners = file.owners(file.path)
            except (ConfigError, OSError) as error:  # policy reports it; the last good content stays
                _log.warning("keys.not_read", path=str(file.path), error=str(error)[:1000])
            self._known[file.path] = (now, owners)
        return owners

    def _principals(self, path: Path) -> dict[str, AccountOwner]:
        known = read_principals(path).principals
        self._listed = known
        self.gateways = {one.id: one.via for one in known if one.via is not None}
        return {one.key: _owner(one) for one in known}


def _owner(principal: Principal) -> AccountOwner:
    return AccountOwner(text=f"principal {principal.id}", principal=principal.id)


def _changed_at(path: Path) -> float | None:
    """Return when the file changed, on the monotonic clock; None where there is none."""
    try:
        return to_monotonic(path.stat().st_mtime)
    except OSError:
        return None


def _agents(path: Path) -> dict[str, AccountOwner]:
    known = read_agents(path).agents
    return {one.key: AccountOwner(text=f"an agent of pool {one.pool}", pool=one.pool) for one in known}


def _nobody(_: Path) -> dict[str, AccountOwner]:
    return {}


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LARGEST)
    except OSError:  # it is being replaced, or gone: it names no key
        return b""
