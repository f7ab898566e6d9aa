"""The first files of an installation: keys, an initial policy, this machine as a target, and the first principal.

Existing files are never changed: an operator's file outlives every `writ up`.
"""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any

from msgspec import Struct

from writ_bus.private_files import read_private
from writ_contracts.backends import LOCAL
from writ_contracts.errors import ConfigError, Conflict, Invalid, Untrusted
from writ_contracts.ids import encode_id
from writ_contracts.inventory import GATEWAY
from writ_contracts.signing import Signed
from writ_contracts.wire import decode
from writ_documents import atomic_files, yaml_file
from writ_documents.atomic_files import write_atomically
from writ_documents.readers import read_agents, read_inventory, read_principals
from writ_installation.files import list_edits
from writ_installation.files.former_keys import refuse_former_keys
from writ_installation.files.home import OPERATOR, PEOPLE, Home, host_token
from writ_installation.files.lost_policy_key import drop_lost_policy_key, keep_former_keys, refuse_lost_policy_key
from writ_installation.files.parameter_keys import make_parameter_key
from writ_trust.keys import Key, generate_seed
from writ_trust.people import open_directory

SERVICES = ("bootstrap", "sys", "status", "policy", "executor", "audit", "keeper")
SYSTEM_FOLDERS = ("/etc", "/proc", "/sys", "/dev", "/boot", "/root")


class Machine(Struct, frozen=True, kw_only=True):
    """The first target: its name, and its folder for file operations."""

    name: str
    folder: Path


def create_installation(home: Home, former_policy_keys: str = "") -> bool:
    """Make missing files; return True where this is a new installation. A split one is made by `writ init` alone.

    `former_policy_keys`: WRIT_POLICY_FORMER_KEYS. Raises ConfigError where policy's key is lost and not named there, or
    the file of a key has one that was rotated away.
    """
    new = not home.principals.exists()
    if home.split:
        if new:
            raise ConfigError(f"{home.root} is not an installation: {home.principals} is missing")
        return False
    refuse_lost_policy_key(home, former_policy_keys)
    refuse_former_keys(home)
    home.make_folders()
    keep_former_keys(home, former_policy_keys)
    drop_lost_policy_key(home)
    make_files(home)
    add_missing_pools(home)
    return new


@contextmanager
def undone_on_failure(home: Home, *, existed: bool) -> Iterator[None]:
    """Remove what the block made of a new installation, if it fails. The caller holds the lock.

    `existed`: whether the folder was there before the caller made it. An installation that was there is left as it is.
    """
    new, sandbox = not home.principals.exists(), home.sandbox.exists()
    before = {*home.root.rglob("*")}
    try:
        yield
    except BaseException:
        if new:
            _remove_new(home.root, before)
            if not sandbox:
                with suppress(OSError):  # it was not made, or is in use
                    home.sandbox.rmdir()
            if not existed:
                shutil.rmtree(home.root, ignore_errors=True)
        raise


def _remove_new(root: Path, before: set[Path]) -> None:
    for path in sorted({*root.rglob("*")} - before, reverse=True):  # what is in a folder comes before it
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


def make_gateway(home: Home, name: str = GATEWAY) -> None:
    """Make an MCP gateway with a new key, unless there is one of this name. Raises Conflict for another kind."""
    known = {one.id: one.kind for one in read_principals(home.principals).principals}
    if name not in known:
        entry = {"id": name, "kind": GATEWAY, "key": home.make_key(f"principal-{name}").public}
        list_edits.append(home.principals, "principals", entry, unique="id")
    elif known[name] != GATEWAY:
        raise Conflict(f"{name} is a principal of kind {known[name]}, not a gateway: choose another name")


def make_files(home: Home, machine: Machine | None = None) -> None:
    """Make each missing file. `machine`: the first target; by default this machine."""
    if not home.installation_file.exists():
        make_identity(home)
    for name in SERVICES:
        home.make_key(name)
    _make_people_key(home)
    make_parameter_key(home.params_key)
    if not home.policy.exists():
        atomic_files.save(home.policy, default_policy())
    if not home.inventory.exists():
        home.sandbox.mkdir(mode=0o700, exist_ok=True)
        first = machine or Machine(name=host_token(), folder=home.sandbox)
        list_edits.write(home.inventory, INVENTORY_HEAD, {"targets": [as_target(first)]})
    if not home.principals.exists():
        key = home.make_key(f"principal-{OPERATOR}").public
        operator = {"id": OPERATOR, "kind": "human", "roles": ["operator", "admin"], "key": key}
        list_edits.write(home.principals, PRINCIPALS_HEAD, {"principals": [operator]})
    if not home.agents.exists():
        list_edits.write(home.agents, AGENTS_HEAD, {"agents": []})
    write_public(home)


def _make_people_key(home: Home) -> None:
    """Make the key for the directory of people's credentials, once: it may be elsewhere by now."""
    if not home.people_key() and not home.people_seed.exists():
        home.people_seed.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomically(home.people_seed, generate_seed() + b"\n")


def make_identity(home: Home) -> str:
    """Give the installation an id, and return it."""
    identity = encode_id(secrets.token_bytes(16))
    atomic_files.save(home.installation_file, (IDENTITY_HEAD + yaml_file.dump({"id": identity})).encode())
    return identity


def write_public(home: Home, people_key: str = "") -> None:
    """Write the public halves of the services' keys, for processes that may not read the private ones. `people_key`:
    the new one, whose private half may be elsewhere.
    """
    known = {name: home.key(name).public for name in SERVICES}
    if pinned := people_key or _pinned_people_key(home):
        known[PEOPLE] = _last_people_key(home, pinned)
    expected = (PUBLIC_HEAD + yaml_file.dump(known)).encode()
    if not home.public_file.exists() or home.public_file.read_bytes() != expected:
        atomic_files.save(home.public_file, expected)


def _pinned_people_key(home: Home) -> str:
    """Return the key of the private half here, or the recorded one where it was taken away, as it should be."""
    return Key(read_private(home.people_seed)).public if home.people_seed.exists() else home.people_key()


def _last_people_key(home: Home, pinned: str) -> str:
    """Return the key that signed `people.json` where it follows the pinned one: a former key is never pinned again."""
    try:
        signed = decode(home.people_file.read_bytes(), Signed)
        return open_directory(signed, [pinned], home.installation).keys[-1]
    except (FileNotFoundError, Invalid, Untrusted):  # another key begins a directory of its own
        return pinned


INVENTORY_HEAD = "# The targets of Writ. Read again whenever it changes.\n"
PRINCIPALS_HEAD = "# The principals, each with one key: `writ principal add NAME` adds to it.\n"
AGENTS_HEAD = "# The keys of the agents of each pool: those of `writ up`, and those of enrolled hosts.\n"
IDENTITY_HEAD = "# The id of this installation, which every signed statement names. Never change it.\n"
PUBLIC_HEAD = "# The public halves of keys/*.seed, and of the key that signs people.json.\n"


def as_target(machine: Machine) -> dict[str, Any]:
    """Return the machine's entry of the inventory."""
    root: str | dict[str, Any] = str(machine.folder)
    if any(machine.folder.is_relative_to(folder) for folder in SYSTEM_FOLDERS):
        root = {"path": root, "allow_system_root": True}
    return {
        "id": machine.name,
        "role": "development",
        "backend": LOCAL,
        "connection": {"host": machine.name},
        "file_roots": [root],
    }


def default_policy() -> bytes:
    """Return the initial policy of a new installation."""
    return (resources.files("writ_installation") / "policy.yaml").read_bytes()


def add_missing_pools(home: Home) -> list[str]:
    """Give each pool of the inventory without an entry in agents.yaml a key; return those pools."""
    known = {agent.pool for agent in read_agents(home.agents).agents}
    missing = sorted({target.pool for target in read_inventory(home.inventory).targets} - known)
    for pool in missing:
        add_pool(home, pool)
    return missing


def add_pool(home: Home, pool: str) -> None:
    """Make a key for the agents of this pool, which has none."""
    key = home.make_key(f"agent-{pool}").public
    list_edits.append(home.agents, "agents", {"pool": pool, "key": key}, unique="key")
