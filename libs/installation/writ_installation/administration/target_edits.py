"""Changes of targets in `$WRIT_HOME`: removal, new names, tags and values of an entry in inventory.yaml.

Credentials have their target's name: a new name takes them along, a removal leaves them in place.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from writ_contracts.errors import Conflict, Invalid
from writ_contracts.inventory import Target
from writ_documents import entry_edits, yaml_file
from writ_documents.document import Document
from writ_documents.readers import LARGEST_LIST, inventory_of, read_inventory
from writ_installation.administration.targets import refuse_name
from writ_installation.files import list_edits
from writ_installation.files.home import Home

SECTION = "targets"
CREDENTIAL_ENDS = (
    "",
    ".pub",
    "-cert.pub",
    ".passphrase",
    ".sudo",
    ".jump",
    ".jump.pub",
    ".jump-cert.pub",
    ".jump.passphrase",
)
"""After a target's name, of the files with its credentials."""


class RemainingParts(Struct, frozen=True, kw_only=True):
    """Parts of a removed target that stay: files of its credentials, and its pool if it has no other target."""

    target: str
    credentials: list[str]
    pool: str | None


def remove_target(home: Home, name: str) -> RemainingParts:
    """Remove the entry. Raises Conflict where other targets are reached through it, Invalid for an unknown one."""
    refuse_gateway(home, name)
    targets = read_inventory(home.inventory).targets
    target = targets[_index(targets, name)]
    _edit(home, lambda text: entry_edits.without_entry(text, SECTION, _position(text, name)))
    pool_left = any(one.pool == target.pool for one in targets if one.id != name)
    files = [str(file) for file in _credentials(home, target, name)]
    return RemainingParts(target=name, credentials=files, pool=None if pool_left else target.pool)


def refuse_gateway(home: Home, name: str) -> None:
    """Raises Conflict where other targets are reached through this one."""
    if through := [one.id for one in read_inventory(home.inventory).targets if one.gateway == name]:
        raise Conflict(f"{name} is the gateway of {', '.join(through)}: give them another one first", code="in_use")


def rename_target(home: Home, old: str, new: str) -> list[str]:
    """Give a target a new name, also as gateway of others, and return the files of its credentials. Raises Conflict
    for a name in use, Invalid for an unknown target.
    """
    refuse_name(new)
    targets = read_inventory(home.inventory).targets
    target = targets[_index(targets, old)]
    if any(one.id == new for one in targets):
        raise Conflict(f"there is a target {new} already")

    def renamed(text: str) -> str:
        through = [at for at, entry in enumerate(_entries(text)) if entry.get("gateway") == old]
        changes = dict.fromkeys(through, ("gateway", new)) | {_position(text, old): ("id", new)}
        return entry_edits.with_values(text, SECTION, changes)

    def same_pool(document: Document) -> None:
        found = inventory_of(document).targets
        if (pool := found[_index(found, new)].pool) != target.pool:
            advice = f"`writ target set {old} agent={target.pool}`"
            raise Conflict(f"its pool would become {pool}, which has no agent yet: keep it with {advice} first")

    with _second_names(_credentials(home, target, old), old, new) as files:
        list_edits.change(home.inventory, renamed, same_pool)
    return files


def tag_target(home: Home, name: str, added: Iterable[str], removed: Iterable[str]) -> list[str]:
    """Add and remove tags, and return all tags of the target. Raises Invalid for an absent tag to remove."""
    targets = read_inventory(home.inventory).targets
    tags, gone = targets[_index(targets, name)].tags, set(removed)
    if missing := sorted(gone.difference(tags)):
        raise Invalid(f"{name} has no tag {', '.join(missing)}; it has {', '.join(tags) or 'none'}")
    left = [tag for tag in dict.fromkeys([*tags, *added]) if tag not in gone]
    if left != tags:
        set_values(home, name, {"tags": left})
    return left


def set_values(home: Home, name: str, values: Mapping[str, Any]) -> None:
    """Set keys of the target's entry. Raises FileErrors where the inventory could not be used with them."""

    def changed(text: str) -> str:
        at = _position(text, name)
        for key, value in values.items():
            text = entry_edits.with_value(text, SECTION, at, key, value)
        return text

    _edit(home, changed)


def _edit(home: Home, edit: list_edits.Edit) -> None:
    list_edits.change(home.inventory, edit, inventory_of)


def _entries(text: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = yaml_file.parse(text.encode(), "", largest=LARGEST_LIST).data[SECTION]
    return entries


def _position(text: str, name: str) -> int:
    """Return the index of an entry in the file as it is now, under the lock."""
    return _place([entry.get("id") for entry in _entries(text)], name)


def _index(targets: list[Target], name: str) -> int:
    return _place([target.id for target in targets], name)


def _place(names: list[Any], name: str) -> int:
    if name in names:
        return names.index(name)
    raise Invalid(f"there is no target {name} in the inventory", code="unknown_target")


def _credentials(home: Home, target: Target, name: str) -> list[Path]:
    path = home.credentials(target.backend) / name
    return [file for file in (path.with_name(f"{name}{end}") for end in CREDENTIAL_ENDS) if file.is_file()]


@contextmanager
def _second_names(files: list[Path], old: str, new: str) -> Iterator[list[str]]:
    """Let files have their new name too while the inventory changes, and then that one alone."""
    pairs = [(file, file.with_name(new + file.name.removeprefix(old))) for file in files]
    if there := [str(path) for _, path in pairs if path.exists()]:
        raise Conflict(f"{there[0]} is left from another target: move it away first")
    for file, path in pairs:
        path.hardlink_to(file)
    try:
        yield [str(path) for _, path in pairs]
    except BaseException:
        for _, path in pairs:
            path.unlink()
        raise
    for file, _ in pairs:
        file.unlink()
