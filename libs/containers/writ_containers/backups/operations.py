"""backup_create, _list, _restore and _delete of a container's volumes and folders of the host.

A restore never writes into a volume or folder in use. The container is made again with new ones, which are filled and
compared with the backup first; then it takes the place of the former one, whose data stays as it is.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from pathlib import PurePosixPath
from typing import Any

from msgspec.structs import replace

from writ_agent.backends.port import ProbeResult, Progress, Task, TaskResult, Verdict
from writ_containers.backups.mounted_data import (
    MountedData,
    check_fits,
    mounted_data,
    new_folders,
    omissions,
    with_new_places,
)
from writ_containers.backups.quiet_container import NOT_RESUMED, quiet, still_quiet
from writ_containers.backups.repository import BackupPart, Repository, complete, file_name, repository_of
from writ_containers.backups.tar_digest import TarDigest, digest_of
from writ_containers.containers import container_recreate, container_update
from writ_containers.containers.container_replace import replace_container
from writ_containers.engine.api import Engine
from writ_containers.engine.podman import NO_BACKUPS, is_podman
from writ_contracts.catalogue.backups import BackupCreate, BackupRestore
from writ_contracts.errors import Conflict, Invalid, TimedOut, WritError
from writ_contracts.inventory import Target

Raw = Mapping[str, Any]
OPERATIONS = ("backup_create", "backup_list", "backup_restore", "backup_delete")
READ_OR_FILLED = ("backup_create", "backup_restore")
"""Operations that need the archive of a container."""


async def run(engine: Engine, task: Task, progress: Progress, until: float) -> TaskResult:
    """Carry out the operation until `until`, in monotonic seconds. Raises WritError if refused before any effect."""
    await _refuse_podman(engine, task)
    repository = repository_of(task.target, task.operation_id)
    match task.operation.name:
        case "backup_create":
            return await _create(engine, repository, task, progress, until)
        case "backup_restore":
            return await _restore(engine, repository, task, progress, until)
        case "backup_delete":
            return await _delete(repository, task)
        case _:
            return await _list(repository, task)


async def probe(engine: Engine, task: Task, before: Mapping[str, Any]) -> ProbeResult:
    """Return whether it took effect. Raises WritError."""
    if task.operation.name == "backup_restore":
        return await container_update.probe(engine, task, before)
    found = await _parts(repository_of(task.target, task.operation_id), str(task.parameters["backup_id"]))
    if task.operation.name == "backup_delete":
        reason = "the repository has it" if found else "the repository has no such backup"
        return ProbeResult(verdict="no_effect" if found else "took_effect", observed={"reason": reason})
    ours = [one for one in found if one.operation_id == task.operation_id]
    verdict: Verdict = "took_effect" if complete(ours) else "unknown" if ours else "no_effect"
    kept = {"took_effect": "the backup", "unknown": "a part of the backup", "no_effect": "no backup"}[verdict]
    reason = f"the repository has {kept} of this operation"
    return await probe_container(engine, task, ProbeResult(verdict=verdict, observed={"reason": reason}))


async def probe_container(engine: Engine, task: Task, stored: ProbeResult) -> ProbeResult:
    """Return `stored`, what the repository showed; `unknown` while the container is left paused or stopped. The
    repository is not read again, which may take long. Raises WritError.
    """
    remark = await still_quiet(engine, _container(task), str(task.parameters.get("quiesce")))
    if not remark:
        return stored
    return ProbeResult(verdict="unknown", observed={"reason": f"{stored.observed['reason']}{remark}"})


async def preview(engine: Engine, task: Task) -> dict[str, Any]:
    """Return the preview. Raises WritError."""
    await _refuse_podman(engine, task)
    repository = repository_of(task.target, task.operation_id)
    backup_id = str(task.parameters["backup_id"])
    if task.operation.name == "backup_create":
        raw = await engine.find(_container(task))
        await _refuse_taken(repository, backup_id)
        data = await mounted_data(engine, raw, task.target)
        would = f"back up {', '.join(data.paths)} of {_container(task)}{_without(data)}"
        return {"backup_id": backup_id, "would": would}
    parts = await _the_one(repository, backup_id)
    if task.operation.name == "backup_delete":
        _refuse_other(parts, task)
        return {"backup_id": backup_id, "would": f"delete the backup of {parts[0].container}"}
    raw = await engine.find(_container(task))
    data = await mounted_data(engine, raw, task.target)
    check_fits(data, parts, task.target)
    paths = ", ".join(part.path for part in parts)
    would = f"make {_container(task)} again with new volumes and folders for {paths}"
    return {"backup_id": backup_id, "would": would, "folders": new_folders(data, parts, task.operation_id)}


async def names(target: Target) -> list[str]:
    """Return the ids of all backups of containers. Raises WritError."""
    return sorted({one.backup_id for one in await repository_of(target, "listing").parts()})


async def _create(engine: Engine, repository: Repository, task: Task, progress: Progress, until: float) -> TaskResult:
    parameters: BackupCreate = task.arguments()
    try:
        raw, data = await _source(engine, repository, task)
    except asyncio.CancelledError:
        return TaskResult(outcome="cancelled", code="cancelled", message="it was stopped before it began")
    paths = data.paths
    try:
        async with quiet(engine, raw, parameters.quiesce), asyncio.timeout(until - time.monotonic()):
            for number, path in enumerate(paths, 1):
                progress(f"backs up {path}")
                tags = _tags(parameters.backup_id, task.operation_id, _container(task), path, f"{number}/{len(paths)}")
                async with aclosing(engine.archive(str(raw["Id"]), path)) as stream:
                    await repository.store(tags, file_name(number), stream, full=parameters.backup_type == "full")
        parts = [one for one in await _parts(repository, parameters.backup_id) if one.operation_id == task.operation_id]
    except (WritError, TimeoutError) as error:
        code = error.code if isinstance(error, WritError) else "timeout"
        done = await _given_up(repository, task.operation_id, code, str(error) or "it took too long")
        return replace(done, outcome="unknown", effect="maybe") if code == NOT_RESUMED else done
    except asyncio.CancelledError:
        done = await _given_up(repository, task.operation_id, "cancelled", "it was stopped")
        return replace(done, outcome="cancelled" if done.effect == "none" else "unknown")
    if not complete(parts):
        return await _given_up(repository, task.operation_id, "tool_failed", "the repository has not all of it")
    return TaskResult(
        outcome="succeeded",
        output=_shown(parts),
        state={"backup_id": parameters.backup_id},
        message=_without(data).removeprefix("; "),
        effect="done",
    )


async def _source(engine: Engine, repository: Repository, task: Task) -> tuple[Raw, MountedData]:
    """Return the container and its data. Raises WritError for what cannot be backed up."""
    raw = await engine.find(_container(task))
    data = await mounted_data(engine, raw, task.target)
    await _refuse_taken(repository, str(task.parameters["backup_id"]))
    return raw, data


async def _given_up(repository: Repository, operation_id: str, code: str, message: str) -> TaskResult:
    """Remove a part of a backup that was given up."""
    try:
        await repository.forget([one for one in await repository.parts() if one.operation_id == operation_id])
    except WritError:
        return TaskResult(
            outcome="failed", code=code, message=f"{message}; a part of the backup is left", effect="maybe"
        )
    return TaskResult(outcome="failed", code=code, message=message, effect="none")


async def _restore(engine: Engine, repository: Repository, task: Task, progress: Progress, until: float) -> TaskResult:
    parameters: BackupRestore = task.arguments()
    raw = await engine.find(_container(task))
    container_recreate.check_recreatable(raw)
    parts = await _the_one(repository, parameters.backup_id)
    data = await mounted_data(engine, raw, task.target)
    check_fits(data, parts, task.target)
    former = await engine.image(str(raw.get("Image")))
    body = container_recreate.recreated(raw, former, str(raw["Image"]), task.operation_id)
    body["HostConfig"] = with_new_places(body["HostConfig"], data, parts, _container(task), task.operation_id)

    async def fill(container_id: str) -> None:
        for part in parts:
            progress(f"restores {part.path}")
            await _fill(engine, repository, container_id, part)

    done = await replace_container(engine, task, raw, body, progress, until, fill)
    output = {
        "backup_id": parameters.backup_id,
        "reference": parts[0].reference,
        "log": str(done.output.get("log", "")),
    }
    folders = new_folders(data, parts, task.operation_id)
    if done.outcome == "succeeded":
        rest = "the former volumes are left as they were"
        rest += f"; its folders are now {', '.join(folders)}" if folders else ""
    else:
        rest = f"what was filled may be left: {', '.join(folders)}" if folders else ""
    message = "; ".join(filter(None, (done.message, rest)))
    return replace(done, message=message, output=output)


async def _fill(engine: Engine, repository: Repository, container_id: str, part: BackupPart) -> None:
    """Unpack a part into its volume and compare. Raises WritError (`not_verified`)."""
    digest = TarDigest()

    async def copied(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for piece in pieces:
            await digest.feed(piece)
            yield piece

    try:
        async with repository.dump(part) as pieces:
            await engine.extract(container_id, str(PurePosixPath(part.path).parent), copied(pieces))
    finally:
        expected = await digest.end()
    async with aclosing(engine.archive(container_id, part.path)) as stored:
        found = await digest_of(stored)
    if not expected or expected != found:
        raise TimedOut(f"{part.path} differs from the backup after its restore", code="not_verified")


async def _delete(repository: Repository, task: Task) -> TaskResult:
    backup_id = str(task.parameters["backup_id"])
    parts = await _the_one(repository, backup_id)
    _refuse_other(parts, task)
    await repository.forget(parts)
    if await _parts(repository, backup_id):
        return TaskResult(outcome="failed", code="tool_failed", message="the repository still has it", effect="maybe")
    output = {"backup_id": backup_id, "reference": parts[0].reference, "removed": True}
    return TaskResult(outcome="succeeded", output=output, effect="done")


async def _list(repository: Repository, task: Task) -> TaskResult:
    container_name, limit = task.parameters.get("container_name"), int(task.parameters.get("limit", 100))
    grouped: dict[str, list[BackupPart]] = {}
    for part in await repository.parts():
        grouped.setdefault(part.backup_id, []).append(part)
    found = [
        _entry(parts) for parts in grouped.values() if complete(parts) and container_name in (None, parts[0].container)
    ]
    found.sort(key=lambda one: float(one["created_at"]), reverse=True)
    return TaskResult(outcome="succeeded", output={"backups": found[:limit], "truncated": len(found) > limit})


async def _refuse_podman(engine: Engine, task: Task) -> None:
    """Raises Invalid (`unsupported`): a backup without the owners of its files is none."""
    if task.operation.name in READ_OR_FILLED and is_podman(await engine.version()):
        raise Invalid(NO_BACKUPS, code="unsupported")


async def _parts(repository: Repository, backup_id: str) -> list[BackupPart]:
    return [one for one in await repository.parts() if one.backup_id == backup_id]


async def _the_one(repository: Repository, backup_id: str) -> list[BackupPart]:
    parts = await _parts(repository, backup_id)
    if not complete(parts):
        raise Invalid(f"no backup {backup_id} of a container in the repository", code="backup_not_found")
    return parts


def _refuse_other(parts: list[BackupPart], task: Task) -> None:
    """Raises Invalid (`other_container`): a rule that names a container permits the deletion of its backups alone."""
    name = task.parameters.get("container_name")
    if name is not None and parts[0].container != name:
        message = f"backup {parts[0].backup_id} is of container {parts[0].container}, not of {name}"
        raise Invalid(message, code="other_container")


async def _refuse_taken(repository: Repository, backup_id: str) -> None:
    if await _parts(repository, backup_id):
        raise Conflict(f"there is a backup {backup_id} already", code="exists")


def _without(data: MountedData) -> str:
    return f"; left out: {omissions(data.left_out)}" if data.left_out else ""


def _tags(backup_id: str, operation_id: str, container: str, path: str, part: str) -> dict[str, str]:
    return {
        "writ-id": backup_id,
        "writ-op": operation_id,
        "writ-container": container,
        "writ-path": path,
        "writ-part": part,
    }


def _shown(parts: list[BackupPart]) -> dict[str, Any]:
    entry = _entry(parts)
    return {name: entry[name] for name in ("backup_id", "reference", "size", "created_at")} | {"files": len(parts)}


def _entry(parts: list[BackupPart]) -> dict[str, Any]:
    return {
        "backup_id": parts[0].backup_id,
        "created_at": parts[0].created_at,
        "container_name": parts[0].container,
        "size": sum(part.size or 0 for part in parts),
        "reference": parts[0].reference,
    }


def _container(task: Task) -> str:
    """Raises Invalid for a path, which an engine has not."""
    name = task.parameters.get("container_name")
    if not name:
        raise Invalid("an engine has backups of containers alone: give container_name", code="unsupported")
    return str(name)
