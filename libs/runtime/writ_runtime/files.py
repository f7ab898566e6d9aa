"""The files that say who and what there is: inventory.yaml, principals.yaml, agents.yaml; and private keys.

Each reader checks what one entry alone can't know (ids that stand twice, gateways and humans that don't exist) and
refuses the whole file for it, with all mistakes at once. A private key that others may read is no private key.
"""

import ipaddress
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from writ_contracts.ids import WRIT_TARGET
from writ_contracts.inventory import Agents, Backup, Inventory, Principals, Target
from writ_runtime import shapes, yamlfile
from writ_runtime.config import ConfigError
from writ_runtime.documents import Document, FileErrors, Keys, Problem

LARGEST_LIST = 10_000_000
LARGEST_KEY = 4096
NOBODYS_KEY = "U" + "A" * 55
"""Of who has none: no key is this one, since its checksum is wrong."""
Kind = TypeVar("Kind")


def read_inventory(path: Path) -> Inventory:
    """The targets; each gateway is one of them, and `writ` itself is never listed."""
    document = yamlfile.read(path, largest=LARGEST_LIST)
    inventory = shapes.convert(document, Inventory)
    ids = {target.id for target in inventory.targets}
    found = list(_twice(document, "targets", "id", (target.id for target in inventory.targets)))
    for at, target in enumerate(inventory.targets):
        keys: Keys = ("targets", at)
        if target.id == WRIT_TARGET:
            found.append(document.problem((*keys, "id"), f"'{WRIT_TARGET}' is Writ itself and always there"))
        if target.gateway is not None and target.gateway not in ids:
            found.append(document.problem((*keys, "gateway"), f"there is no target '{target.gateway}'"))
        found += _on_hosts(document, keys, target)
    return _sound(inventory, found)


def _on_hosts(document: Document, keys: Keys, target: Target) -> Iterator[Problem]:
    """What would fail on the host only, with each operation there."""
    for at, network in enumerate(target.scan_networks):
        if not _is_network(network):
            yield document.problem((*keys, "scan_networks", at), f"'{network}' is no network, such as 192.0.2.0/24")
    if target.backup:
        yield from shapes.mistakes(document, target.backup, Backup, (*keys, "backup"))


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def read_principals(path: Path) -> Principals:
    """Who may ask; an AI agent acts for a human of the same file, and no key is held by two."""
    return _principals(yamlfile.read(path, largest=LARGEST_LIST))


def read_people(path: Path) -> Principals:
    """Who may ask, for judging a policy alone: nobody is let in by it, so keys may be left out."""
    document = yamlfile.read(path, largest=LARGEST_LIST)
    entries = document.data.get("principals") if isinstance(document.data, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            entry.setdefault("key", NOBODYS_KEY)
    return _principals(document, nobody=NOBODYS_KEY)


def _principals(document: Document, *, nobody: str | None = None) -> Principals:
    principals = shapes.convert(document, Principals)
    kinds = {principal.id: principal.kind for principal in principals.principals}
    keys_held = ("" if one.key == nobody else one.key for one in principals.principals)
    found = [
        *_twice(document, "principals", "id", (principal.id for principal in principals.principals)),
        *_twice(document, "principals", "key", keys_held),
    ]
    for at, principal in enumerate(principals.principals):
        keys: Keys = ("principals", at, "acts_for")
        if principal.acts_for is None:
            continue
        if kinds.get(principal.acts_for) != "human":
            found.append(document.problem(keys, f"there is no human '{principal.acts_for}' to act for"))
        if principal.kind == "human":
            found.append(document.problem(keys, "a human acts for nobody"))
    return _sound(principals, found)


def read_agents(path: Path) -> Agents:
    """Which keys may claim for which pool; a key serves one pool."""
    document = yamlfile.read(path, largest=LARGEST_LIST)
    agents = shapes.convert(document, Agents)
    return _sound(agents, list(_twice(document, "agents", "key", (agent.key for agent in agents.agents))))


def read_private(path: Path) -> bytes:
    """A private key file without its line end; ConfigError unless it is ours (or root's) and closed to others."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            _require_private(path, os.fstat(descriptor))
            data = file.read(LARGEST_KEY + 1).strip()
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from error
    if not data or len(data) > LARGEST_KEY:
        raise ConfigError(f"{path}: holds no key")
    return data


def _require_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path}: is not a regular file")
    if status.st_mode & (0o027 if _is_credential(path, status) else 0o077):
        raise ConfigError(f"{path}: others can read it (mode {stat.S_IMODE(status.st_mode):04o}): chmod 600 {path}")
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{path}: belongs to somebody else (uid {status.st_uid})")


def _is_credential(path: Path, status: os.stat_result) -> bool:
    """Whether systemd has put it there for this process alone (systemd.exec(5), LoadCredential=): root's, and read by
    our user through an access list, whose mask stat(2) shows as the group's bits (acl(5))."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
    return bool(folder) and status.st_uid == 0 and path.parent == Path(folder)


def _twice(document: Document, section: str, field: str, values: Iterable[str]) -> Iterator[Problem]:
    seen: set[str] = set()
    for at, value in enumerate(values):
        if value and value in seen:
            yield document.problem((section, at, field), f"the {field} '{value}' stands here twice")
        seen.add(value)


def _sound(value: Kind, found: list[Problem]) -> Kind:
    if found:
        raise FileErrors(*found)
    return value
