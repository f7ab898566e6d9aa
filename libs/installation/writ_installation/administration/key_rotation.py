"""Rotation of the keys of services and pools, in steps that each leave a working installation.

announce: the new key is trusted beside the old one, and unused. switch: processes start with it, one by one. retire:
the old one counts for what is on record by then, and for nothing later. The state is in `keyring.json` and the names of
the key files, so an interrupted rotation goes on where it was.
"""

import time
from pathlib import Path
from typing import Literal

from msgspec import Struct, structs

from writ_bus.private_files import read_private
from writ_contracts.errors import Conflict, Invalid
from writ_contracts.installation.keyring import POLICY, KeyEntry, KeyState
from writ_contracts.nearest_name import did_you_mean, near
from writ_documents import atomic_files
from writ_documents.atomic_files import write_atomically
from writ_documents.readers import read_agents
from writ_installation.files import list_edits
from writ_installation.files.create import SERVICES, write_public
from writ_installation.files.home import Home
from writ_installation.files.keyring import save_keys
from writ_installation.files.parameter_keys import PARAMS, id_in_use, next_id, use_next
from writ_installation.files.principal_changes import principals_of
from writ_installation.nats.leaf_sites import Leaf, key_name, read_leaves
from writ_trust.keys import Key, generate_seed

AGENT, LEAF, PRINCIPAL = "agent-", "leaf-", "principal-"
Step = Literal["announced", "switched", "retired"]


class LastRecords(Struct, frozen=True, kw_only=True):
    """The last event of the journal and the last version of the policy, for which a former key of policy's counts."""

    event: int = 0
    version: int = 0


class RotationStep(Struct, frozen=True, kw_only=True):
    """The completed step, with the keys before and after."""

    name: str
    step: Step
    old: str
    new: str


def rotatable(home: Home) -> list[str]:
    """Return the services and local pools with a key here. Raises ConfigError."""
    pools = dict.fromkeys(f"{AGENT}{agent.pool}" for agent in read_agents(home.agents).agents)
    shared = [PARAMS] if home.params_key.exists() else []
    links = dict.fromkeys(key_name(one.site, one.pool) for one in _links(home))
    return [*(name for name in (*SERVICES, *pools, *links) if home.seed_file(name).exists()), *shared]


def _unknown_key(home: Home, name: str) -> str:
    principals = [f"{PRINCIPAL}{one}" for one in principals_of(home)]
    meant = did_you_mean([own]) if (own := f"{PRINCIPAL}{name}") in principals else ""
    hint = meant or near(name, [*rotatable(home), *principals]) or "; `writ keys list` lists them"
    return f"no key {name[:80]!r} is here{hint}"


def pending(home: Home, name: str) -> Step:
    """Return the next step of this key's rotation."""
    ring = home.keyring()
    if ring.find(name, "retiring"):
        return "retired"
    return "switched" if ring.find(name, "next") else "announced"


def announce(home: Home, name: str) -> RotationStep:
    """Make the new key, and have it trusted. Raises Invalid for an unknown name, Conflict during a rotation."""
    if name not in rotatable(home):
        raise Invalid(_unknown_key(home, name))
    ring, old = home.keyring(), _present(home, name)
    if ring.find(name, "next") or ring.find(name, "retiring"):
        raise Conflict(f"{name} is being rotated already")
    if lost_key(home, name):
        raise Conflict(f"an earlier key of {name} was lost, and is accepted still: run `writ keys lost {name}` first")
    new = next_id(home.params_key) if name == PARAMS else _next_key(home, name).public
    if name.startswith(AGENT):
        _list_agent(home, name, new)
    elif name.startswith(LEAF):
        _list_link(home, name, new)
    known = [] if ring.find(name, "current") else [_entry(name, old, "current", _since(home, name))]
    save_keys(home.keyring_file, [*ring.keys, *known, _entry(name, new, "next", time.time())])
    return RotationStep(name=name, step="announced", old=old, new=new)


def switch(home: Home, name: str) -> RotationStep:
    """Replace the old key by the new one. This deletes the old one."""
    ring = home.keyring()
    new, old = ring.find(name, "next"), ring.find(name, "current")
    if new is None or old is None:
        raise Conflict(f"no new key of {name} was announced")
    if name == PARAMS:
        use_next(home.params_key, new.key)
    else:
        _replace_seed(home, name, new.key)
    save_keys(home.keyring_file, [_moved(one, old.key, new.key) for one in ring.keys])
    write_public(home)
    return RotationStep(name=name, step="switched", old=old.key, new=new.key)


def retire(home: Home, name: str, ends: LastRecords) -> RotationStep:
    """End the trust in the old key, as of now."""
    ring, new = home.keyring(), _present(home, name)
    write_public(home)  # where the rotation was interrupted before
    if (old := ring.find(name, "retiring")) is None:
        raise Conflict(f"no key of {name} is to be retired")
    limits = {"last_event": ends.event, "last_version": ends.version} if name == POLICY else {}
    gone = structs.replace(old, state="former", until=time.time(), **limits)
    if name.startswith(AGENT) and any(agent.key == old.key for agent in read_agents(home.agents).agents):
        list_edits.replace(home.agents, "agents", None, unique="key", value=old.key)
    elif name.startswith(LEAF) and any(one.key == old.key for one in _links(home)):
        list_edits.replace(home.leaves, "leaves", None, unique="key", value=old.key)
    save_keys(home.keyring_file, [gone if one == old else one for one in ring.keys])
    return RotationStep(name=name, step="retired", old=old.key, new=new)


def lost_key(home: Home, name: str) -> KeyEntry | None:
    """Return the entry of a key whose file was lost after a rotation and replaced by a new one; it is accepted still.

    Policy's entries are removed at its start (`lost_policy_key`).
    """
    listed = home.keyring().find(name, "current")
    if name not in SERVICES or name == POLICY or listed is None or not home.seed_file(name).exists():
        return None
    return listed if listed.key != _present(home, name) else None


def end_lost(home: Home, name: str) -> RotationStep:
    """End the trust in a lost key, and list the key in its place. Raises Invalid where none was lost, Conflict during a
    rotation.
    """
    ring = home.keyring()
    if ring.find(name, "next") or ring.find(name, "retiring"):
        raise Conflict(f"{name} is being rotated: finish it with `writ keys rotate {name}`")
    if (lost := lost_key(home, name)) is None:
        raise Invalid(f"no lost key of {name[:80]} is accepted; `writ keys list` lists the keys")
    new = _present(home, name)
    gone = structs.replace(lost, state="former", until=time.time())
    kept = [gone if one == lost else one for one in ring.keys]
    save_keys(home.keyring_file, [*kept, _entry(name, new, "current", _since(home, name))])
    return RotationStep(name=name, step="retired", old=lost.key, new=new)


def pools_elsewhere(home: Home) -> list[str]:
    """Return pools with agents on other hosts or in containers, which have policy's key in their environment."""
    if home.in_containers:
        return sorted({agent.pool for agent in read_agents(home.agents).agents})
    pools = [name for name in rotatable(home) if name.startswith(AGENT)]
    own = {key for name in pools for key in home.keys_of(name)}
    return sorted({agent.pool for agent in read_agents(home.agents).agents if agent.key not in own})


def _present(home: Home, name: str) -> str:
    """Return the public half of the key in use, or the id of the shared key."""
    return id_in_use(home.params_key) if name == PARAMS else home.public(name)


def _replace_seed(home: Home, name: str, announced: str) -> None:
    if (file := _next_file(home, name)).exists():
        if Key(read_private(file)).public != announced:
            raise Conflict(f"{file} does not hold the announced key, {announced}")
        file.replace(home.seed_file(name))
        atomic_files.sync_folder(home.keys)
    if home.key(name).public != announced:
        raise Conflict(f"{home.seed_file(name)} does not hold the announced key, {announced}")


def _next_file(home: Home, name: str) -> Path:
    return home.keys / f"{name}.next.seed"


def _next_key(home: Home, name: str) -> Key:
    file = _next_file(home, name)
    if not file.exists():
        write_atomically(file, generate_seed() + b"\n")
    return Key(read_private(file), home.installation)


def _list_agent(home: Home, name: str, key: str) -> None:
    if not any(agent.key == key for agent in read_agents(home.agents).agents):
        entry = {"pool": name.removeprefix(AGENT), "key": key}
        list_edits.append(home.agents, "agents", entry, unique="key")


def _list_link(home: Home, name: str, key: str) -> None:
    site, pool = next((one.site, one.pool) for one in _links(home) if key_name(one.site, one.pool) == name)
    if not any(one.key == key for one in _links(home)):
        list_edits.append(home.leaves, "leaves", {"site": site, "pool": pool, "key": key}, unique="key")


def _links(home: Home) -> list[Leaf]:
    leaves = read_leaves(home.leaves)
    return list(leaves.leaves) if leaves else []


def _entry(name: str, key: str, state: KeyState, since: float) -> KeyEntry:
    return KeyEntry(name=name, key=key, state=state, since=since)


def _since(home: Home, name: str) -> float:
    return (home.params_key if name == PARAMS else home.seed_file(name)).stat().st_mtime


def _moved(one: KeyEntry, old: str, new: str) -> KeyEntry:
    if one.key == new:
        return structs.replace(one, state="current", since=time.time())
    return structs.replace(one, state="retiring") if one.key == old else one
