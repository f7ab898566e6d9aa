"""Readers of an installation's lists: inventory.yaml, principals.yaml, agents.yaml.

Each reader checks relations between entries (duplicate ids, unknown gateways and humans) and refuses the whole file for
them, with all mistakes at once.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from writ_contracts.ids import WRIT_TARGET
from writ_contracts.inventory import GATEWAY, Agents, BackupRepository, Inventory, Principal, Principals, Target
from writ_documents import shapes, yaml_file
from writ_documents.document import Document, FileErrors, FileProblem, Keys

LARGEST_LIST = 10_000_000
NOBODYS_KEY = "U" + "A" * 55
"""The key of entries without one: no key equals it, since its checksum is wrong."""
Kind = TypeVar("Kind")


def read_inventory(path: Path) -> Inventory:
    """Return the targets; each gateway is one of them, and `writ` itself is never listed."""
    return inventory_of(yaml_file.read(path, largest=LARGEST_LIST))


def inventory_of(document: Document) -> Inventory:
    """Return what `read_inventory` does, from a document already read."""
    inventory = shapes.convert(document, Inventory)
    ids = {target.id for target in inventory.targets}
    found = list(_twice(document, "targets", "id", (target.id for target in inventory.targets)))
    for at, target in enumerate(inventory.targets):
        keys: Keys = ("targets", at)
        if target.id == WRIT_TARGET:
            found.append(
                document.problem((*keys, "id"), f"'{WRIT_TARGET}' is reserved for Writ itself: choose another id")
            )
        if target.gateway is not None and target.gateway not in ids:
            found.append(document.problem((*keys, "gateway"), f"there is no target '{target.gateway}'"))
        found += _on_hosts(document, keys, target)
    return _sound(inventory, found)


def _on_hosts(document: Document, keys: Keys, target: Target) -> Iterator[FileProblem]:
    """Yield problems which would otherwise show on the host only, with each operation there."""
    for at, network in enumerate(target.scan_networks):
        if not _is_network(network):
            yield document.problem((*keys, "scan_networks", at), f"'{network}' is not a network such as 192.0.2.0/24")
    if target.backup:
        yield from shapes.mistakes(document, target.backup, BackupRepository, (*keys, "backup"))


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def read_principals(path: Path) -> Principals:
    """Return the principals; an AI agent acts for a human of the same file, and no two share a key."""
    return principals_of(yaml_file.read(path, largest=LARGEST_LIST))


def read_people(path: Path) -> Principals:
    """Return the principals for decisions alone: nobody is authenticated by them, so keys may be left out."""
    document = yaml_file.read(path, largest=LARGEST_LIST)
    entries = document.data.get("principals") if isinstance(document.data, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            entry.setdefault("key", NOBODYS_KEY)
    return principals_of(document, nobody=NOBODYS_KEY)


def principals_of(document: Document, *, nobody: str | None = None) -> Principals:
    principals = shapes.convert(document, Principals)
    kinds = {principal.id: principal.kind for principal in principals.principals}
    keys_held = ("" if one.key == nobody else one.key for one in principals.principals)
    found = [
        *_twice(document, "principals", "id", (principal.id for principal in principals.principals)),
        *_twice(document, "principals", "key", keys_held),
    ]
    found += [*_other_persons(document, principals), *_gateways(document, principals)]
    for at, principal in enumerate(principals.principals):
        keys: Keys = ("principals", at, "acts_for")
        if principal.acts_for is None:
            continue
        if kinds.get(principal.acts_for) != "human":
            found.append(document.problem(keys, f"there is no human '{principal.acts_for}' to act for"))
        if principal.kind == "human":
            found.append(document.problem(keys, "a human does not act for others: remove acts_for"))
    return _sound(principals, found)


def _gateways(document: Document, principals: Principals) -> Iterator[FileProblem]:
    """Yield a `via` which names no gateway, or is a human's, and rights given to a gateway, which must have none."""
    gateways = {one.id for one in principals.principals if one.kind == GATEWAY}
    for at, principal in enumerate(principals.principals):
        if principal.kind == GATEWAY and (fields := _requester_field(principal)):
            yield document.problem(("principals", at, fields), f"a gateway has no {fields}: it requests for others")
        if principal.via is None:
            continue
        keys: Keys = ("principals", at, "via")
        if principal.via not in gateways:
            yield document.problem(keys, f"there is no principal '{principal.via}' of kind gateway")
        if principal.kind == "human":
            yield document.problem(keys, "no gateway requests for a human: give the agent a principal of its own")


def _requester_field(principal: Principal) -> str:
    """Return the first field of a gateway which is for requesters only; empty if there is none."""
    return next((name for name in ("roles", "acts_for", "attributes", "person", "via") if getattr(principal, name)), "")


def _other_persons(document: Document, principals: Principals) -> Iterator[FileProblem]:
    """Yield entries which would make two persons of one: approvals tell people apart by `person`."""
    named = {principal.id: principal for principal in principals.principals}
    for at, principal in enumerate(principals.principals):
        if principal.person is None:
            continue
        keys: Keys = ("principals", at, "person")
        if principal.kind != "human":
            yield document.problem(
                keys, f"only a human has `person`; a principal of kind {principal.kind} has `acts_for`"
            )
            continue
        other = named.get(principal.person, principal)
        if other.kind != "human" or (other.person or other.id) != principal.person:
            yield document.problem(keys, f"'{principal.person}' is not the id of a person: that principal has another")


def read_agents(path: Path) -> Agents:
    """Return the keys accepted on claims of each pool; a key serves one pool."""
    document = yaml_file.read(path, largest=LARGEST_LIST)
    agents = shapes.convert(document, Agents)
    return _sound(agents, list(_twice(document, "agents", "key", (agent.key for agent in agents.agents))))


def _twice(document: Document, section: str, field: str, values: Iterable[str]) -> Iterator[FileProblem]:
    earlier: set[str] = set()
    for at, value in enumerate(values):
        if value and value in earlier:
            yield document.problem((section, at, field), f"the {field} '{value}' occurs twice")
        earlier.add(value)


def _sound(value: Kind, found: list[FileProblem]) -> Kind:
    if found:
        raise FileErrors(*found)
    return value
