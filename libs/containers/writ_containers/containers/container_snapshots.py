"""Snapshots of containers: an image committed from the container, under a local name and with labels.

The image has the container's own file system, without volumes and mounted folders. A name served by no registry and a
missing repository digest tell a snapshot from a pulled image with the same labels.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from writ_agent.backends.port import ProbeResult, Progress, Task, TaskResult, Verdict
from writ_containers.containers import container_recreate, container_update, container_view
from writ_containers.containers.container_replace import replace_container
from writ_containers.containers.container_view import OPERATION_LABEL
from writ_containers.engine.api import Engine
from writ_containers.engine.engine_errors import LOST
from writ_containers.engine.snapshot_names import KNOWN_AS, REPOSITORY
from writ_contracts.errors import Conflict, Invalid, WritError

Raw = Mapping[str, Any]
OPERATIONS = ("snapshot_create", "snapshot_list", "snapshot_restore", "snapshot_delete")
CONTAINER_LABEL = "io.writops.snapshot.container"
NAME_LABEL = "io.writops.snapshot.name"
DESCRIPTION_LABEL = "io.writops.snapshot.description"
MOST = 1000


async def run(engine: Engine, task: Task, progress: Progress, until: float) -> TaskResult:
    """Carry out the operation until `until`, in monotonic seconds. Raises WritError if refused before any effect."""
    container, name = _names(task)
    match task.operation.name:
        case "snapshot_list":
            found = [_entry(image) for image in await _snapshots(engine, container)]
            ordered = sorted(found, key=lambda one: one["created_at"] or 0.0, reverse=True)
            shown = {"snapshots": ordered[:MOST], "truncated": len(ordered) > MOST}
            return TaskResult(outcome="succeeded", output=shown)
        case "snapshot_create":
            return await _create(engine, task, container, name)
        case "snapshot_delete":
            return await _delete(engine, container, name)
        case _:
            return await _restore(engine, task, progress, until)


async def baseline(engine: Engine, task: Task) -> dict[str, Any]:
    """Return the container as it is. Raises WritError."""
    return container_view.baseline(await engine.find(_names(task)[0]))


async def probe(engine: Engine, task: Task, before: Mapping[str, Any]) -> ProbeResult:
    """Return whether it took effect. Raises WritError."""
    if task.operation.name == "snapshot_restore":
        return await container_update.probe(engine, task, before)
    container, name = _names(task)
    image = await _find(engine, container, name)
    observed = {} if image is None else {"reference": str(image.get("Id"))}
    if task.operation.name == "snapshot_delete":
        gone: Verdict = "took_effect" if image is None else "no_effect"
        return ProbeResult(
            verdict=gone, observed={**observed, "reason": "the snapshot is gone" if image is None else "it is there"}
        )
    if image is not None and _labels(image).get(OPERATION_LABEL) == task.operation_id:
        return ProbeResult(verdict="took_effect", observed={**observed, "reason": "this operation made the snapshot"})
    verdict, reason = await _without_snapshot(engine, container, before)
    return ProbeResult(verdict=verdict, observed={**observed, "reason": reason})


async def _without_snapshot(engine: Engine, container: str, before: Mapping[str, Any]) -> tuple[Verdict, str]:
    """Return the verdict where no snapshot of the operation is there. An engine pauses a container while it commits it,
    which takes minutes for a large one. Raises WritError.
    """
    raw = await engine.find_or_none(container)
    state = "" if raw is None else container_view.baseline(raw)["state"]
    if state == "paused" and before.get("state") != "paused":
        return "unknown", "no snapshot of this operation; the container is paused, maybe by it"
    return "no_effect", "no snapshot of this operation"


async def preview(engine: Engine, task: Task) -> dict[str, Any]:
    """Return the actions of the operation. Raises WritError."""
    container, name = _names(task)
    match task.operation.name:
        case "snapshot_create":
            raw = await engine.find(container)
            await _refuse_taken(engine, container, name)
            commands = [f"POST /commit?container={raw['Id']}&repo={REPOSITORY}&tag={tag(container, name)}"]
            return {"would": f"store the file system of {container}, without its volumes", "commands": commands}
        case "snapshot_delete":
            await _the_one(engine, container, name)
            return {"would": f"delete snapshot {name} of {container}", "commands": [f"DELETE /images/{_tagged(task)}"]}
        case _:
            raw = await engine.find(container)
            container_recreate.check_recreatable(raw)
            image = await _the_one(engine, container, name)
            return {"would": f"make {container} again from {image['Id']}; its volumes stay as they are", "commands": []}


async def names(engine: Engine) -> list[str]:
    """Return the names of all snapshots."""
    found = await engine.images({})
    return sorted({str(_labels(image)[NAME_LABEL]) for image in found if NAME_LABEL in _labels(image)})


def tag(container: str, name: str) -> str:
    """Return the tag, without the characters of snapshot and container names which a tag may not have."""
    return hashlib.sha256(f"{container}\0{name}".encode()).hexdigest()[:40]


async def _create(engine: Engine, task: Task, container: str, name: str) -> TaskResult:
    raw = await engine.find(container)
    await _refuse_taken(engine, container, name)
    labels = {
        CONTAINER_LABEL: container,
        NAME_LABEL: name,
        DESCRIPTION_LABEL: str(task.parameters.get("description", "")),
        OPERATION_LABEL: task.operation_id,
    }
    refusal: WritError | None = None
    try:
        await engine.commit(str(raw["Id"]), REPOSITORY, tag(container, name), {"Labels": labels})
    except WritError as error:
        refusal = error
    try:
        image = await _find(engine, container, name)
    except WritError as error:
        if isinstance(refusal, Invalid | Conflict):
            raise refusal from error
        return _not_read(error, f"{refusal}; " if refusal else "it was stored; ")
    if image is not None and _labels(image).get(OPERATION_LABEL) == task.operation_id:
        return TaskResult(outcome="succeeded", output=_state(name, image), state=_state(name, image), effect="done")
    if refusal is not None and refusal.code not in LOST:
        raise refusal
    code, message = (refusal.code, str(refusal)) if refusal else ("not_confirmed", "the engine has no such snapshot")
    return TaskResult(outcome="unknown", code=code, message=message, effect="maybe")


def _not_read(error: WritError, before: str) -> TaskResult:
    """Return the result of a change whose effect cannot be read: no error of a read makes it a refusal."""
    message = f"{before}the snapshots could not be read: {error}"
    return TaskResult(outcome="unknown", code=error.code, message=message, effect="maybe")


async def _delete(engine: Engine, container: str, name: str) -> TaskResult:
    image = await _the_one(engine, container, name)
    try:
        await engine.remove_image(f"{REPOSITORY}:{tag(container, name)}")
    except Conflict as error:
        raise Conflict(f"a container was made from this snapshot: {error}", code="snapshot_in_use") from error
    except WritError as error:
        if error.code not in (*LOST, "not_found"):  # aiohttp sends a DELETE with a lost reply again
            raise
        try:
            left = await _find(engine, container, name)
        except WritError as unread:
            return _not_read(unread, f"{error}; ")
        if left is not None:
            return TaskResult(outcome="unknown", code=error.code, message=str(error), effect="maybe")
    output = {"snapshot_name": name, "removed": True}
    return TaskResult(outcome="succeeded", output=output, state={"reference": str(image.get("Id"))}, effect="done")


async def _restore(engine: Engine, task: Task, progress: Progress, until: float) -> TaskResult:
    container, name = _names(task)
    raw = await engine.find(container)
    known = task.baseline.get("container_id")
    if known and known != raw.get("Id"):
        raise Conflict("since the decision, another container has taken the name", code="container_changed")
    container_recreate.check_recreatable(raw)
    image = await _the_one(engine, container, name)
    former = await engine.image(str(raw.get("Image")))
    body = container_recreate.recreated(raw, former, str(image["Id"]), task.operation_id)
    done = await replace_container(engine, task, raw, body, progress, until)
    return replace(done, output={**_state(name, image), "log": str(done.output.get("log", ""))})


async def _snapshots(engine: Engine, container: str) -> list[Raw]:
    found = await engine.images({CONTAINER_LABEL: container})
    return [one for one in found if _is_local(one, container, str(_labels(one).get(NAME_LABEL, "")))]


async def _find(engine: Engine, container: str, name: str) -> Raw | None:
    return next((one for one in await _snapshots(engine, container) if _labels(one).get(NAME_LABEL) == name), None)


async def _the_one(engine: Engine, container: str, name: str) -> Raw:
    image = await _find(engine, container, name)
    if image is None:
        raise Invalid(f"no snapshot {name} of container {container} on this engine", code="snapshot_not_found")
    return image


async def _refuse_taken(engine: Engine, container: str, name: str) -> None:
    if await _find(engine, container, name) is not None:
        raise Conflict(f"container {container} has a snapshot {name} already", code="name_taken")


def _is_local(image: Raw, container: str, name: str) -> bool:
    """Return True for an image committed here: a pulled image may have the same labels."""
    tags = {f"{known}:{tag(container, name)}" for known in KNOWN_AS}
    return not tags.isdisjoint(image.get("RepoTags") or ()) and not _pulled(image)


def _pulled(image: Raw) -> bool:
    """An engine with the containerd image store gives local images a digest of their own name as well."""
    digests = [str(one).partition("@")[0] for one in image.get("RepoDigests") or ()]
    return any(one not in KNOWN_AS for one in digests)


def _labels(image: Raw) -> Mapping[str, Any]:
    return image.get("Labels") or {}


def _entry(image: Raw) -> dict[str, Any]:
    labels = _labels(image)
    return {
        "snapshot_name": str(labels.get(NAME_LABEL)),
        "created_at": float(image["Created"]) if isinstance(image.get("Created"), int) else None,
        "description": str(labels.get(DESCRIPTION_LABEL, "")),
        "size": image.get("Size"),
    }


def _state(name: str, image: Raw) -> dict[str, Any]:
    return {"snapshot_name": name, "reference": str(image.get("Id")), "created_at": _entry(image)["created_at"]}


def _names(task: Task) -> tuple[str, str]:
    """Return container and snapshot. Raises Invalid for a path, which an engine has not."""
    container = task.parameters.get("container_name")
    if not container:
        raise Invalid("an engine has snapshots of containers only: give container_name", code="unsupported")
    return str(container), str(task.parameters.get("snapshot_name", ""))


def _tagged(task: Task) -> str:
    return f"{REPOSITORY}:{tag(*_names(task))}"
