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
from writ_contracts.installation.keyring import POLICY, KeyEntry, Keyring, KeyState
from writ_contracts.nearest_name import did_you_mean, near
from writ_documents import atomic_files
from writ_documents.atomic_files import write_atomically
from writ_documents.readers import read_agents
from writ_installation.files import list_edits
from writ_installation.files.create import SERVICES, write_public
from writ_installation.files.former_keys import refuse_former_keys
from writ_installation.files.home import Home
from writ_installation.files.keyring import save_keys
from writ_installation.files.lost_policy_key import (
    end_policy_entries,
    kept_former_keys,
    refuse_declared_lost,
    unfinished_loss,
)
from writ_installation.files.parameter_keys import PARAMS, holds_next, id_in_use, next_id, use_next
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
    """Make the new key, and have it trusted. Raises Invalid for an unknown name, Conflict during a rotation or where a
    key was lost, ConfigError for an older copy of the file.
    """
    if name not in rotatable(home):
        raise Invalid(_unknown_key(home, name))
    refuse_former_keys(home, name)
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
    present = _current(ring, name, old) or _entry(name, old, "current", _since(home, name))
    kept = [_ended(one) if _is_replaced(home, one, name) else one for one in ring.keys if one != present]
    save_keys(home.keyring_file, [*kept, present, _entry(name, new, "next", time.time())])
    return RotationStep(name=name, step="announced", old=old, new=new)


def switch(home: Home, name: str) -> RotationStep:
    """Replace the old key by the new one. This deletes the old one."""
    ring = home.keyring()
    new = ring.find(name, "next")
    old = _current(ring, name, _present(home, name)) or _announced_beside(ring, name)
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
    gone = structs.replace(_ended(old), **limits)
    _remove_from_list(home, name, old.key)
    save_keys(home.keyring_file, [gone if one == old else one for one in ring.keys])
    return RotationStep(name=name, step="retired", old=old.key, new=new)


def lost_key(home: Home, name: str) -> KeyEntry | None:
    """Return the entry of a service's key whose file was lost after a rotation and replaced by a new one; it is
    accepted still.
    """
    listed = home.keyring().find(name, "current")
    if name not in SERVICES or listed is None or not home.seed_file(name).exists():
        return None
    return listed if listed.key != _present(home, name) else None


def end_lost(home: Home, name: str) -> list[RotationStep]:
    """End the trust in lost keys: one in whose place there is a new one, which is listed then, and one that was
    announced. Return nothing if all lost keys are refused already.

    Of policy no key is listed then: `policy-former-keys` says up to which event each counts. Raises Invalid
    where none was lost, Conflict during a rotation or where policy has a key that was said to be lost before,
    ConfigError for an older copy of the file.
    """
    refuse_former_keys(home, name)
    if name == POLICY and (home.site or home.in_containers) and not home.seed_file(name).exists():
        return _new_policy_key(home)
    if name == POLICY and (ended := unfinished_loss(home)):
        write_public(home)
        return [RotationStep(name=name, step="retired", old=ended, new=home.public(name))]
    ring, lost, announced = home.keyring(), lost_key(home, name), _lost_next(home, name)
    if ring.find(name, "retiring") or (ring.find(name, "next") and announced is None):
        raise Conflict(f"{name} is being rotated: finish it with `writ keys rotate {name}`")
    if lost is None and announced is None:
        _refuse_listed(home, name)
        if ring.of(name) or (name == POLICY and home.seed_file(name).exists() and kept_former_keys(home)):
            return []
        raise Invalid(f"no lost key of {name[:80]} is accepted; `writ keys list` lists the keys")
    if lost and name == POLICY:
        refuse_declared_lost(home)
    if announced is not None:
        _remove_from_list(home, name, announced.key)
    new = _present(home, name)
    kept = [_ended(one) if one == lost else one for one in ring.keys if one != announced]
    if lost and name == POLICY:
        end_policy_entries(home)
        return [RotationStep(name=name, step="retired", old=lost.key, new=new)]
    listed = [_entry(name, new, "current", _since(home, name))] if lost else []
    save_keys(home.keyring_file, [*kept, *listed])
    return [RotationStep(name=name, step="retired", old=one.key, new=new) for one in (lost, announced) if one]


def pools_elsewhere(home: Home) -> list[str]:
    """Return pools with agents on other hosts or in containers, which have policy's key in their environment."""
    if home.in_containers:
        return sorted({agent.pool for agent in read_agents(home.agents).agents})
    pools = [name for name in rotatable(home) if name.startswith(AGENT)]
    own = {key for name in pools for key in keys_here(home, name)}
    return sorted({agent.pool for agent in read_agents(home.agents).agents if agent.key not in own})


def keys_here(home: Home, name: str) -> set[str]:
    """Return the keys of a pool whose private halves are here, or were. Those of its other hosts are current, too."""
    own = {one.key for one in home.keyring().of(name) if one.state in ("next", "retiring")}
    return own | {home.public(name)}


def _present(home: Home, name: str) -> str:
    """Return the public half of the key in use, or the id of the shared key."""
    return id_in_use(home.params_key) if name == PARAMS else home.public(name)


def _current(ring: Keyring, name: str, key: str) -> KeyEntry | None:
    return next((one for one in ring.of(name) if (one.key, one.state) == (key, "current")), None)


def _announced_beside(ring: Keyring, name: str) -> KeyEntry | None:
    """Return the key that was in use at the announcement, for a switch that was interrupted. Its entry stands before
    the announced one. A current one behind is that of another host.
    """
    entries = ring.of(name)
    before = entries[: next((at for at, one in enumerate(entries) if one.state == "next"), 0)]
    return next((one for one in reversed(before) if one.state == "current"), None)


def _is_replaced(home: Home, one: KeyEntry, name: str) -> bool:
    """Return whether it is an earlier key of this name whose file was lost and replaced by that of another key.

    A pool's keys on other hosts are in `agents.yaml`, and current too.
    """
    return (one.name, one.state) == (name, "current") and one.key not in _in_list(home, name)


def _new_policy_key(home: Home) -> list[RotationStep]:
    """Make policy's key in an installation of `writ init`, where no start does it. An announced key is ended, too.
    Raises Conflict if its file is there.
    """
    announced, file = home.keyring().find(POLICY, "next"), _next_file(home, POLICY)
    if announced and file.exists():
        raise Conflict(f"policy is being rotated, and {file} has its next key: `writ keys rotate policy` uses it")
    ended = [home.public(POLICY), *([announced.key] if announced else [])]
    end_policy_entries(home)
    new = home.make_key(POLICY).public
    write_public(home)
    return [RotationStep(name=POLICY, step="retired", old=old, new=new) for old in ended]


def _refuse_listed(home: Home, name: str) -> None:
    """Raise Invalid for a pool or link with a rotated key elsewhere: whether it is lost, nobody here can know."""
    present = _present(home, name) if home.seed_file(name).exists() else ""
    listed = [one.key for one in home.keyring().of(name) if one.state == "current" and one.key != present]
    if accepted := [key for key in listed if key in _in_list(home, name)]:
        file = home.agents if name.startswith(AGENT) else home.leaves
        raise Invalid(
            f"{name} has keys that are not here, perhaps those of other hosts: if one is lost, remove its entry from"
            f" {file}: {', '.join(accepted)}"
        )


def _lost_next(home: Home, name: str) -> KeyEntry | None:
    """Return the entry of an announced key whose private half is lost. Raises Invalid if that in use is lost, too."""
    announced = home.keyring().find(name, "next")
    if announced is not None and name != PARAMS and not home.seed_file(name).exists():
        raise Invalid(
            f"the key of {name} in use is lost, too: follow docs/operating/files.md for it, start Writ, and repeat the "
            "command"
        )
    if announced is None or announced.key == _present(home, name):  # in use: a switch was interrupted
        return None
    held = holds_next(home.params_key, announced.key) if name == PARAMS else _next_file(home, name).exists()
    return None if held else announced


def _replace_seed(home: Home, name: str, announced: str) -> None:
    if (file := _next_file(home, name)).exists():
        if Key(read_private(file)).public != announced:
            raise Conflict(f"{file} does not hold the announced key, {announced}")
        file.replace(home.seed_file(name))
        atomic_files.sync_folder(home.keys)
    if home.key(name).public != announced:
        raise Conflict(
            f"{home.seed_file(name)} does not hold the announced key, {announced}: if {file} is lost, run "
            f"`writ keys lost {name}`"
        )


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


def _in_list(home: Home, name: str) -> list[str]:
    """Return the keys of the file that lists keys of this kind."""
    if name.startswith(AGENT):
        return [agent.key for agent in read_agents(home.agents).agents]
    return [one.key for one in _links(home)] if name.startswith(LEAF) else []


def _remove_from_list(home: Home, name: str, key: str) -> None:
    if key in _in_list(home, name):
        path, items = (home.agents, "agents") if name.startswith(AGENT) else (home.leaves, "leaves")
        list_edits.replace(path, items, None, unique="key", value=key)


def _links(home: Home) -> list[Leaf]:
    leaves = read_leaves(home.leaves)
    return list(leaves.leaves) if leaves else []


def _entry(name: str, key: str, state: KeyState, since: float) -> KeyEntry:
    return KeyEntry(name=name, key=key, state=state, since=since)


def _ended(one: KeyEntry) -> KeyEntry:
    return structs.replace(one, state="former", until=time.time())


def _since(home: Home, name: str) -> float:
    return (home.params_key if name == PARAMS else home.seed_file(name)).stat().st_mtime


def _moved(one: KeyEntry, old: str, new: str) -> KeyEntry:
    """Return the entry after the switch. A key that was ended before stays so."""
    if one.state == "former":
        return one
    if one.key == new:
        return structs.replace(one, state="current", since=time.time())
    return structs.replace(one, state="retiring") if one.key == old else one
