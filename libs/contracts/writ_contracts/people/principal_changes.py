"""The principals in force: those of principals.yaml, with the changes recorded by `principal_manage`.

A change names its entry of the file by key and revision. It counts while the file has this entry: a new key or revision
in the file undoes the change, and any other edit does not.
"""

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import structs

from writ_contracts.catalogue.control import PrincipalManage
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Principal
from writ_contracts.journal import ControlEvent


def read_change(event: ControlEvent) -> PrincipalManage:
    """Return the change of a `principal_manage`. Raises msgspec.ValidationError."""
    known = PrincipalManage.__struct_fields__
    return msgspec.convert({name: value for name, value in event.body.items() if name in known}, PrincipalManage)


def entry_version(entry: Principal | None) -> str:
    """Return the identity of an entry of the file; "" where there is none."""
    return "" if entry is None else f"{entry.key}.{entry.revision}"


def principals_in_force(listed: Iterable[Principal], changes: Iterable[PrincipalManage]) -> dict[str, Principal]:
    """Return the principals by id after these changes, in their order; a change which does not fit is left out."""
    in_file = {entry.id: entry for entry in listed}
    found = dict(in_file)
    for change in changes:
        if change.replaces == entry_version(in_file.get(change.principal_id)):
            try:
                found = changed(found, change)
            except Invalid:  # policy refused it: only a forger's copy of its event comes here
                continue
    return found


def changed(principals: Mapping[str, Principal], change: PrincipalManage) -> dict[str, Principal]:
    """Return the principals after the change. Raises Invalid if it does not fit or breaks a relation."""
    name, before = change.principal_id, principals.get(change.principal_id)
    if (before is None) != (change.action == "add"):
        there = f"there is a principal {name} already" if before else f"there is no principal {name!r}"
        raise Invalid(there, code="conflict" if before else "no_principal")
    others = {one: entry for one, entry in principals.items() if one != name}
    after = others if change.action == "remove" else {**principals, name: _entry(before, change)}
    _check(after, change)
    return after


def _entry(before: Principal | None, change: PrincipalManage) -> Principal:
    if before is None:
        return Principal(
            id=change.principal_id,
            kind=change.kind or "human",
            key=change.key or "",
            roles=change.roles or [],
            acts_for=change.acts_for,
            person=change.person,
        )
    if change.action in ("disable", "enable"):
        return structs.replace(before, disabled=change.action == "disable")
    if change.action == "rotate":
        return structs.replace(before, key=change.key or "")
    if change.action == "set_roles":
        return structs.replace(before, roles=change.roles or [])
    return structs.replace(before, acts_for=change.acts_for)


def _check(principals: Mapping[str, Principal], change: PrincipalManage) -> None:
    """Raises Invalid unless principals.yaml could hold the changed list."""
    name, entry = change.principal_id, principals.get(change.principal_id)
    if change.key is not None:
        holder = next((one.id for one in principals.values() if one.key == change.key and one.id != name), None)
        if holder:
            raise Invalid(f"this key is that of {holder}: one key, one principal", code="conflict")
    if entry is None:
        _check_unused(principals, name)
        return
    if entry.acts_for is not None:
        human = principals.get(entry.acts_for)
        if human is None:
            text = f"no principal {entry.acts_for!r} for which {name} could act; `writ principal list` lists them"
            raise Invalid(text, code="no_principal")
        if entry.kind == "human" or human.kind != "human":
            raise Invalid(f"{name} cannot act for {entry.acts_for}: agents and services act for a human")
    if entry.person not in (None, name):
        other = principals.get(entry.person)
        if entry.kind != "human" or other is None or other.kind != "human" or (other.person or other.id) != other.id:
            raise Invalid(f"{entry.person} is not the id of a person: `writ principal list`")


def _check_unused(principals: Mapping[str, Principal], name: str) -> None:
    users = sorted(one.id for one in principals.values() if name in (one.acts_for, one.person, one.via))
    if users:
        raise Invalid(
            f"{', '.join(users)} acts for {name}, or by it: remove it first, or disable {name}", code="conflict"
        )


def is_active(entry: Principal, principals: Mapping[str, Principal]) -> bool:
    """Return true unless the principal is disabled, or its human (`acts_for`) is disabled or removed."""
    if entry.disabled:
        return False
    human = principals.get(entry.acts_for) if entry.acts_for else entry
    return human is not None and not human.disabled
