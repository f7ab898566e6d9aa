"""The data of a container that is backed up: its volumes and its folders of the host, as far as it may write them.

A restore gives each a new place: another volume, or another folder beside the former one. The engine makes both with
the container, so nothing of the agent's touches the host.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from writ_containers.backups.repository import BackupPart
from writ_containers.checks.breakouts import HostPaths, bind_breakouts, is_beneath, reaches_own
from writ_containers.containers.container_view import OPERATION_LABEL
from writ_containers.engine.api import Engine
from writ_containers.engine.host_paths import host_paths
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target

Raw = Mapping[str, Any]
LONGEST_NAME = 100


class MountedData(NamedTuple):
    """`folders`: the host's folders by their path in the container. `volumes`: paths. `left_out`: the reason, by the
    path of what is no part of a backup.
    """

    volumes: Sequence[str]
    folders: Mapping[str, str]
    left_out: Mapping[str, str]

    @property
    def paths(self) -> list[str]:
        """Return the paths in the container, in order."""
        return sorted([*self.volumes, *self.folders])


async def mounted_data(engine: Engine, raw: Raw, target: Target) -> MountedData:
    """Return it. Raises Invalid (`no_volumes`) where there is none."""
    volumes, folders, left_out, host = [], {}, dict[str, str](), await host_paths(engine, target)
    for one in raw.get("Mounts") or ():
        path, source = str(one.get("Destination")), str(one.get("Source", ""))
        if not one.get("RW"):
            continue
        if one.get("Type") == "volume":
            volumes.append(path)
        elif one.get("Type") == "bind":
            reason = await _why_not(engine, str(raw["Id"]), path, source, host)
            if reason:
                left_out[path] = reason
            else:
                folders[path] = source
    if not volumes and not folders:
        rest = f"; not backed up: {omissions(left_out)}" if left_out else ""
        message = f"it has no volume and no folder below mount_roots that it may write{rest}"
        raise Invalid(message, code="no_volumes")
    return MountedData(volumes, folders, left_out)


def omissions(left_out: Mapping[str, str]) -> str:
    """Return the paths with their reasons, for people."""
    return ", ".join(f"{path} ({reason})" for path, reason in sorted(left_out.items()))


def check_fits(data: MountedData, parts: Sequence[BackupPart], target: Target) -> None:
    """Raises Invalid (`backup_does_not_fit`) where the container has no place for a part."""
    if lacking := {part.path for part in parts} - {*data.volumes, *data.folders}:
        left_out = {path: reason for path, reason in data.left_out.items() if path in lacking}
        if left_out:
            message = f"the backup has data of mounts that are left out of backups now: {omissions(left_out)}"
        else:
            message = f"the container has no volume at {', '.join(sorted(lacking))}, which the backup has"
        raise Invalid(message, code="backup_does_not_fit")
    for part in parts:
        source = data.folders.get(part.path)
        if source is not None and not is_beneath(str(PurePosixPath(source).parent), target.mount_roots):
            message = f"{source} is itself a folder of mount_roots: a new folder beside it would be outside"
            raise Invalid(message, code="backup_does_not_fit")


def with_new_places(
    host: Raw, data: MountedData, parts: Sequence[BackupPart], name: str, operation_id: str
) -> dict[str, Any]:
    """Return the host settings of the container with a new volume or folder for each part."""
    paths = {part.path for part in parts}
    kept = [one for one in host.get("Mounts") or () if one.get("Target") not in paths]
    binds = [one for one in host.get("Binds") or () if str(one).split(":")[1] not in paths]
    made = [_new_place(data.folders.get(part.path), part, name, operation_id) for part in parts]
    return {**host, "Binds": binds, "Mounts": [*kept, *made]}


def new_folders(data: MountedData, parts: Sequence[BackupPart], operation_id: str) -> list[str]:
    """Return the folders of the host that a restore makes."""
    folders = [(data.folders.get(part.path), part) for part in parts]
    return [_new_folder(source, part, operation_id) for source, part in folders if source is not None]


def _new_place(source: str | None, part: BackupPart, name: str, operation_id: str) -> dict[str, Any]:
    if source is not None:
        place = _new_folder(source, part, operation_id)
        return {"Type": "bind", "Source": place, "Target": part.path, "BindOptions": {"CreateMountpoint": True}}
    return {
        "Type": "volume",
        "Source": f"{name[:LONGEST_NAME]}.restored-{operation_id[-10:]}-{part.number}",
        "Target": part.path,
        "VolumeOptions": {"Labels": {OPERATION_LABEL: operation_id}, "NoCopy": True},
    }


def _new_folder(source: str, part: BackupPart, operation_id: str) -> str:
    """Return a name for a restored folder. A second restore of it gets no longer name."""
    former = PurePosixPath(source)
    stem = former.name.rpartition(".restored-")[0] or former.name
    return str(former.with_name(f"{stem[:LONGEST_NAME]}.restored-{operation_id[-10:]}-{part.number}"))


async def _why_not(engine: Engine, container_id: str, path: str, source: str, host: HostPaths) -> str:
    """Return why a mount of the host is left out; empty where it is backed up."""
    if any(bind_breakouts(source, host)):
        return "files of Writ itself" if reaches_own(source, host) else "not below mount_roots"
    return "" if await engine.is_folder(container_id, path) else "no folder"
