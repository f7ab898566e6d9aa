"""Remove an installation from this machine: its plan, and the removal.

Only paths that Writ itself makes are removed, by their names in its own folders. Other files stay and are listed.
The record stays without `--records`: the journal, and the public keys by which its signatures are verified.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path

from msgspec import Struct

from writ_contracts.backends import SSH
from writ_contracts.errors import Conflict
from writ_contracts.installation import restore_marker
from writ_documents.readers import read_agents, read_inventory
from writ_installation.administration import system_units
from writ_installation.administration.own_files import OwnFolder, delete, own_folders, remove_empty
from writ_installation.administration.system_units import SystemPaths
from writ_installation.files.home import Home
from writ_installation.files.lock import held, holder

SETTINGS = ("writ", "policy", "executor", "audit", "keeper", "gateway")
"""The environment files of the units, without `.env`."""


class Leftover(Struct, frozen=True, kw_only=True):
    """One path of an installation, with its purpose."""

    path: str
    purpose: str


class UninstallPlan(Struct, frozen=True, kw_only=True):
    """The paths to remove, those that stay, and the steps that are left to people."""

    remove: list[Leftover]
    keep: list[Leftover]
    by_hand: list[str]


class Removal(Struct, frozen=True, kw_only=True):
    """The removed paths, those that stay, and those that should be removed and are still there."""

    removed: list[Leftover]
    kept: list[Leftover]
    left: list[Leftover]


def plan(
    home: Home, *, records: bool, running: bool = False, system: SystemPaths = system_units.DEFAULT
) -> UninstallPlan:
    """Return the plan. Raises Conflict where there is no installation, and while `writ up` runs there.

    `running`: the plan is only shown, also while it runs.
    """
    _refuse_folder(home, system)
    if not running:
        _refuse_running(home)
    record = list(_existing(_record(home)))
    # Should this end in the middle, the files that the next try needs are still there: principals and layout go last.
    removed = [*(_existing(system_units.parts(system)) if home.split else []), *_existing(_parts(home))]
    return UninstallPlan(
        remove=[*removed, *(record if records else [])],
        keep=[*([] if records else record), *_others(home, removed, record)],
        by_hand=list(_by_hand(home, system)),
    )


def remove(home: Home, chosen: UninstallPlan, *, system: SystemPaths = system_units.DEFAULT) -> Removal:
    """Remove the paths of a plan, the units first, and folders that are empty then.

    Files that others put there since the plan stay.
    """
    _refuse_folder(home, system)
    _refuse_running(home)
    if home.split:
        system_units.stop(system)
        _refuse_links(home)  # from here on no service can make one
    owned = own_folders(home)  # by the inventory, which is removed
    emptied = _emptied(home)
    removed = list[Leftover]()
    with held(home.lock) if home.run.is_dir() else nullcontext():
        for one in chosen.remove:
            removed += _remove_part(home, one, owned)
    for folder in emptied:
        remove_empty(folder)
    if home.split:
        system_units.forget(system)
    appeared = [one for one in _others(home, chosen.remove, chosen.keep) if one not in chosen.keep]
    return Removal(
        removed=removed,
        kept=[*chosen.keep, *appeared],
        left=[one for one in chosen.remove if is_there(Path(one.path)) and not _holds(one, appeared)],
    )


def _remove_part(home: Home, one: Leftover, owned: list[OwnFolder]) -> list[Leftover]:
    """Remove one path of a plan. Return it, or the removed part of a folder in which others' files are now."""
    path = Path(one.path)
    if path == home.sandbox:
        remove_empty(path)
        return [] if is_there(path) else [one]
    if path not in {own.path for own in owned}:
        delete(path)
        return [one]
    inside = [own for own in owned if own.path.is_relative_to(path)]
    inner_first = sorted(inside, key=lambda own: -len(own.path.parts))
    removed = [Leftover(path=str(part), purpose=own.purpose) for own in inner_first for part in own.remove()]
    return removed if is_there(path) else [one]


def _holds(folder: Leftover, others: list[Leftover]) -> bool:
    return any(Path(one.path).is_relative_to(folder.path) for one in others)


def ssh_targets(home: Home) -> list[str]:
    """Return the targets over SSH: their hosts can be cleaned only while their keys are here."""
    if not home.inventory.exists():  # only the record was left
        return []
    return [target.id for target in read_inventory(home.inventory).targets if target.backend == SSH]


def _refuse_folder(home: Home, system: SystemPaths) -> None:
    _refuse_other_folders(home)
    # Its site.yaml names other folders: somebody else's would have us remove theirs, or the system's.
    if any(path.exists() and path.stat().st_uid != os.geteuid() for path in (home.root, home.site_file)):
        raise Conflict(f"{home.root} belongs to another user, who can remove it")
    if home.split:
        _refuse_other_systems(home, system)


def _refuse_running(home: Home) -> None:
    if (pid := holder(home.lock)) is not None:
        raise Conflict(f"Writ is up on {home.root} (process {pid}): `writ down` first")


def _refuse_other_folders(home: Home) -> None:
    """Raises Conflict where a folder has no installation: files of a common name, as `people.json`, are not enough."""
    if home.root.resolve() in (Path("/"), Path("~").expanduser().resolve()):
        raise Conflict(f"{home.root} is never removed as an installation: `keys`, `run` or `log` there may be others'")
    if not is_there(home.store / "jetstream") and not home.installation:
        raise Conflict(f"{home.root} is not an installation: there is neither {home.installation_file} nor a journal")


def _refuse_other_systems(home: Home, system: SystemPaths) -> None:
    """Raises Conflict unless root removes the installation of the units here: a copy's site.yaml names its paths."""
    if os.geteuid() != 0:
        raise Conflict(f"{home.root} is an installation of the system: only root can remove it")
    if home.root.resolve() != (served := system_units.home(system)).resolve():
        raise Conflict(
            f"{home.root} is not the installation of this machine's units, which read {served}: "
            "a copy is removed with `rm`"
        )
    _refuse_links(home)


def _refuse_links(home: Home) -> None:
    for folder in (home.run, home.nats, home.store):
        if folder.is_symlink():  # made by a service's user, to have root remove files elsewhere
            raise Conflict(f"{folder} is a symbolic link instead of a folder: nothing was removed")


def _parts(home: Home) -> Iterator[tuple[Path, str]]:
    """Yield the paths of an installation but its record, in the order of their removal."""
    for own in own_folders(home):
        yield from own.parts()
    yield home.server_config, "configuration of NATS"
    yield home.store / "ocsp", "a cache of NATS"
    yield home.sizes, "sizes of the streams"
    yield home.policy, "the policy file"
    yield home.inventory, "the inventory"
    yield home.agents, "public keys of agents"
    yield home.principal_changes, "changes of principals"
    yield home.sessions, "sessions"
    yield home.notifications, "settings of notifications"
    yield home.leaves, "sites with leaf nodes"
    yield home.gateway_tokens, "digests of the gateway's tokens"
    yield home.tls_file, "settings of TLS"
    yield home.ca_file, "the CA's certificate"
    for name in SETTINGS:
        yield home.root / f"{name}.env", "settings of the units"
    for folder in dict.fromkeys((home.root, home.config, home.joined, home.written)):
        yield from ((path, "a lock of a file") for path in sorted(folder.glob(".*.lock")))
    if home.sandbox.is_dir() and not any(home.sandbox.iterdir()):
        yield home.sandbox, "the folder for file operations, empty"
    yield home.site_file, "the layout of this installation"
    yield home.principals, "principals"


def _record(home: Home) -> Iterator[tuple[Path, str]]:
    yield home.store / "jetstream", "the journal"  # of NATS alone, in a folder that may be anybody's
    yield home.root / restore_marker.FILE, "the mark of a restore, which the journal needs at its next start"
    for path in (
        home.public_file,
        home.keyring_file,
        home.former_policy_keys,
        home.people_file,
        home.installation_file,
    ):
        yield path, "public keys and names, by which the record is verified"


def _existing(paths: Iterable[tuple[Path, str]]) -> Iterator[Leftover]:
    listed = set[Path]()
    for path, purpose in paths:
        if not listed.intersection((path, *path.parents)) and is_there(path):
            yield Leftover(path=str(path), purpose=purpose)
        listed.add(path)


def _others(home: Home, *known: Iterable[Leftover]) -> Iterator[Leftover]:
    """Yield the paths in the installation's folders that are not Writ's."""
    paths = {Path(one.path) for part in known for one in part}
    owned = own_folders(home)
    folders = list(_folders(home))
    known_folders = [*folders, *(one.path for one in owned)]
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            inside = any(one.is_relative_to(path) for one in (*paths, *known_folders))
            if not inside and not any(path.is_relative_to(one) for one in paths):
                yield Leftover(path=str(path), purpose="not made by Writ")
    for own in owned:
        for path in own.others():
            yield Leftover(path=str(path), purpose="not made by Writ, or of a former target")
    if home.sandbox.is_dir() and any(home.sandbox.iterdir()):
        yield Leftover(path=str(home.sandbox), purpose="files that operations or you put there")


def _folders(home: Home) -> list[Path]:
    """Return the folders that go when they are empty, the inner ones first."""
    inner = (home.store, home.nats, home.config, home.joined, home.written, home.root)
    return list(dict.fromkeys(inner))


def _emptied(home: Home) -> list[Path]:
    """Return the folders that go when they are empty, also those in which others' files were, the inner ones first."""
    own = [folder.path for folder in own_folders(home)]
    return [*sorted(own, key=lambda path: -len(path.parts)), *_folders(home)]


def _by_hand(home: Home, system: SystemPaths) -> Iterator[str]:
    if not is_there(home.store):
        yield "the journal is on a NATS server elsewhere: its streams WRIT_… stay there"
    agents = read_agents(home.agents).agents if home.agents.exists() else []
    for pool in sorted({agent.pool for agent in agents}):
        if not home.seed_file(f"agent-{pool}").exists():
            yield f"the agent of pool {pool} runs on another host: remove it there (docs/uninstall.md)"
    if home.leaves.exists():
        yield f"sites with leaf nodes: remove the files that `writ leaf add` made for them ({home.leaves})"
    if home.config != home.root:
        yield "containers: `docker compose down --rmi local` before, and remove the variables WRIT_… from .env"
    if home.split:
        yield from system_units.by_hand(system)


def is_there(path: Path) -> bool:
    """Return whether there is anything, be it a symbolic link to nothing."""
    return path.is_symlink() or path.exists()
