"""The paths of an engine's host that matter for mounts, by the target's entry and the files of Writ known there."""

import asyncio
from pathlib import Path

import msgspec

from writ_agent.own_files import spellings
from writ_containers.checks.breakouts import HostPaths
from writ_containers.engine.api import Engine
from writ_containers.engine.endpoint import SocketEndpoint
from writ_contracts.inventory import BackupRepository, Target


async def host_paths(engine: Engine, target: Target) -> HostPaths:
    """Return them. The `backup` of a target is on the host of an engine by its socket, and elsewhere with TLS."""
    is_near = isinstance(engine.endpoint, SocketEndpoint) and bool(target.backup)
    backup: list[str] = []
    if is_near and target.mount_roots:  # else no mount is allowed anyway
        named = _backup_paths(msgspec.convert(target.backup, BackupRepository))
        backup = await asyncio.to_thread(spellings, named)  # a repository may be on a file system that hangs
    return HostPaths(mount_roots=target.mount_roots, socket=engine.address.socket, own=[*engine.own, *backup])


def _backup_paths(backup: BackupRepository) -> list[Path]:
    places = (backup.password_file, backup.repository.removeprefix("local:"))
    return [Path(place) for place in places if place.startswith("/")]
