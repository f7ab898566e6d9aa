"""Rotation of the keys of agents on other hosts, which made them themselves: by a one-time token for the old key.

The host makes its next key and enrols it; a key that is bound to a host stays so. Both keys count until the old one is
retired here.
"""

import time

from msgspec import structs

from writ_contracts.errors import Invalid
from writ_contracts.installation.keyring import KeyEntry
from writ_documents.readers import read_agents
from writ_installation.administration.key_rotation import AGENT, RotationStep, keys_here
from writ_installation.files import list_edits, tokens
from writ_installation.files.home import Home
from writ_installation.files.keyring import save_keys


def keys_elsewhere(home: Home, name: str) -> list[str]:
    """Return the keys of a pool's agents whose private halves are not here."""
    own = keys_here(home, name) if home.seed_file(name).exists() else set()
    pool = name.removeprefix(AGENT)
    agents = read_agents(home.agents).agents if name.startswith(AGENT) else []
    return [agent.key for agent in agents if agent.pool == pool and agent.key not in own]


def chosen_key(home: Home, name: str, beginning: str) -> str:
    """Return the key to rotate: the only one, or the one that begins so. Successors that enrolled do not count. Raises
    Invalid.
    """
    here = keys_elsewhere(home, name)
    successors = {tokens.used_for(home, one.id) for one in tokens.known(home) if one.replaces in here}
    known = [key for key in here if key not in successors and key.startswith(beginning)]
    if len(known) != 1:
        shown = ", ".join(key[:12] for key in known) or "none"
        raise Invalid(f"which key of {name}? --key names the beginning of one: {shown}")
    return known[0]


def successor(home: Home, old: str) -> str | None:
    """Return the key that enrolled in place of this one."""
    found = [key for one in tokens.known(home) if one.replaces == old and (key := tokens.used_for(home, one.id))]
    known = {agent.key for agent in read_agents(home.agents).agents}
    return next((key for key in found if key in known), None)


def drop_unused(home: Home, old: str) -> None:
    """Delete earlier tokens for the same key."""
    unused = [one for one in tokens.known(home) if one.replaces == old and tokens.used_for(home, one.id) is None]
    tokens.drop(home, unused)


def retire_elsewhere(home: Home, name: str, old: str, new: str) -> RotationStep:
    """Remove the old key. NATS ends its connections, and what it signs counts no more. The list of agents, by which an
    interrupted retirement is found again, changes last.
    """
    ring, now = home.keyring(), time.time()
    known = {one.key: one for one in ring.of(name)}
    if old not in known:
        known[old] = KeyEntry(name=name, key=old, state="current", since=now)
    known[old] = structs.replace(known[old], state="former", until=now)
    known[new] = KeyEntry(name=name, key=new, state="current", since=now)
    save_keys(home.keyring_file, [*(one for one in ring.keys if one.name != name), *known.values()])
    if any(agent.key == old for agent in read_agents(home.agents).agents):
        list_edits.replace(home.agents, "agents", None, unique="key", value=old)
    return RotationStep(name=name, step="retired", old=old, new=new)
