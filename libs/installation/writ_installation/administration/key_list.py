"""All keys of an installation, as far as its folder knows them."""

import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from writ_contracts.installation.keyring import KeyEntry
from writ_contracts.inventory import GATEWAY
from writ_documents.readers import read_agents
from writ_installation.files import tokens
from writ_installation.files.create import SERVICES
from writ_installation.files.home import PEOPLE, Home
from writ_installation.files.parameter_keys import PARAMS, id_in_use
from writ_installation.files.principal_changes import principals_of
from writ_installation.nats.leaf_sites import Leaf, key_name, read_leaves

USES = {
    "bootstrap": "creates streams and consumers",
    "sys": "reloads NATS",
    "status": "`writ status`",
    "policy": "signs decisions and grants",
    "executor": "connects executors",
    "audit": "connects audit",
    "keeper": "connects the provisioner",
    PARAMS: "encrypts parameters and outputs, keys digests",
    PEOPLE: "signs the directory of people's credentials",
}


class ListedKey(Struct, frozen=True, kw_only=True):
    """`file`: of the private half, where it is on this machine. `since`: Unix seconds, None if unknown."""

    name: str
    kind: str
    public: str
    state: str = "current"
    file: str = ""
    since: float | None = None
    until: float | None = None
    last_event: int | None = None
    used_by: str = ""


def list_keys(home: Home) -> list[ListedKey]:
    """Return every key: of services, pools, principals, links of sites, tokens, the people-key and the parameter key.
    Raises ConfigError.
    """
    ring = {one.key: one for one in home.keyring().keys}
    found = [_in_ring(one, ring) for one in (*_services(home), *_agents(home), *_principals(home), *_others(home))]
    listed = {one.public for one in found}
    former = [_in_ring(_former(one), ring) for one in ring.values() if one.key not in listed]
    return [*found, *former]


def _services(home: Home) -> Iterator[ListedKey]:
    for name in SERVICES:
        yield _listed(name, "service", home.public(name), home.seed_file(name), USES[name])
    if people := home.people_key():
        yield _listed(PEOPLE, "people", people, home.people_seed, USES[PEOPLE])


def _agents(home: Home) -> Iterator[ListedKey]:
    known = {}
    for pool in {agent.pool for agent in read_agents(home.agents).agents}:
        file = home.seed_file(f"agent-{pool}")
        if os.access(file, os.R_OK):
            known[home.key(f"agent-{pool}").public] = file
    for agent in read_agents(home.agents).agents:
        here = known.get(agent.key)
        use = f"agents of pool {agent.pool}" + ("" if here else ", on a host that enrolled")
        yield _listed(f"agent-{agent.pool}", "agent", agent.key, here, use)


def _principals(home: Home) -> Iterator[ListedKey]:
    for one in principals_of(home).values():
        state = "disabled" if one.disabled else "current"
        kind = GATEWAY if one.kind == GATEWAY else "principal"
        file = home.seed_file(f"principal-{one.id}")
        yield _listed(f"principal-{one.id}", kind, one.key, file, f"{one.kind} {one.id}", state)


def _others(home: Home) -> Iterator[ListedKey]:
    leaves = read_leaves(home.leaves)
    for leaf in leaves.leaves if leaves else ():
        yield _listed(
            f"leaf-{leaf.site}-{leaf.pool}", "leaf", leaf.key, _link_file(home, leaf), f"link of site {leaf.site}"
        )
    for token in tokens.known(home):
        yield _listed(f"token-{token.id}", "token", token.key, None, f"enrols an agent of pool {token.pool}")
    if os.access(home.params_key, os.R_OK):
        yield _listed(PARAMS, "secret", id_in_use(home.params_key), home.params_key, USES[PARAMS])


def _link_file(home: Home, leaf: Leaf) -> Path | None:
    """Return the private half, if it is here: during a rotation the other entry of the link has none."""
    file = home.seed_file(key_name(leaf.site, leaf.pool))
    return file if os.access(file, os.R_OK) and home.key(file.stem).public == leaf.key else None


def _listed(name: str, kind: str, public: str, file: Path | None, use: str, state: str = "current") -> ListedKey:
    there = file is not None and file.exists()
    return ListedKey(
        name=name,
        kind=kind,
        public=public,
        state=state,
        file=str(file) if there else "",
        since=file.stat().st_mtime if file is not None and there else None,
        used_by=use,
    )


def _former(entry: KeyEntry) -> ListedKey:
    kind = next((one for one in ("agent", "leaf") if entry.name.startswith(f"{one}-")), "service")
    kind = {PARAMS: "secret", PEOPLE: "people"}.get(entry.name, kind)
    return ListedKey(name=entry.name, kind=kind, public=entry.key, used_by=USES.get(entry.name, entry.name))


def _in_ring(one: ListedKey, ring: dict[str, KeyEntry]) -> ListedKey:
    entry = ring.get(one.public)
    if entry is None:
        return one
    last = entry.last_event or None
    return replace(one, state=entry.state, since=entry.since, until=entry.until, last_event=last)
