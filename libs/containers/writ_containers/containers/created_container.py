"""A container that an operation creates, found by the operation's label where the engine's answer was lost."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from writ_agent.backends.port import Task
from writ_containers.containers.container_recreate import is_engine_named
from writ_containers.containers.container_view import OPERATION_LABEL
from writ_containers.engine.api import Engine
from writ_containers.engine.engine_errors import LOST
from writ_containers.engine.late_effects import CERTAIN_AFTER, PAUSE, observe_late
from writ_containers.engine.whole_requests import answered
from writ_contracts.errors import Invalid, Unreachable, WritError


async def create_container(engine: Engine, name: str, body: Mapping[str, Any], operation_id: str) -> str | None:
    """Return the id; None where the engine does not say if it has created it. Raises WritError for what it refused."""
    try:
        return await answered(_create(engine, name, body, operation_id))
    except WritError as error:
        if error.code not in LOST:
            raise
        lost = error
    until = time.monotonic() + 2 * CERTAIN_AFTER
    found, is_certain = await observe_late(lambda: labelled(engine, operation_id), bool, CERTAIN_AFTER, until)
    if found:
        return found[0]
    if not is_certain:
        return None
    raise Invalid(f"{lost}; nothing was created", code=lost.code) from lost


async def _create(engine: Engine, name: str, body: Mapping[str, Any], operation_id: str) -> str:
    engine.creating.add(operation_id)
    try:
        created = await engine.create(name, body)
    except WritError as error:
        if error.code not in LOST:
            engine.creating.discard(operation_id)
        raise
    engine.creating.discard(operation_id)
    return created


def where_to_look(operation_id: str) -> str:
    """Return how a person finds what was created."""
    return f"look for what was created: docker ps --all --filter label={OPERATION_LABEL}={operation_id}"


async def remove_created(engine: Engine, task: Task) -> bool:
    """Remove what this operation created, found by its label. Return whether its removal is confirmed."""
    try:
        return await _removed(engine, task)
    except WritError:
        return False


async def removed_until(engine: Engine, task: Task, until: float) -> bool:
    """Remove it as `remove_created` does, also over a restart of the engine, until `until` (monotonic seconds). An
    engine that refuses the removal has `CERTAIN_AFTER` seconds: a busy file system may be free by then.
    """
    last = until
    while True:
        try:
            if await _removed(engine, task):
                return True
            is_away = False
        except WritError as error:
            is_away = isinstance(error, Unreachable) or error.code in LOST
        last = until if is_away else min(last, time.monotonic() + CERTAIN_AFTER)
        if time.monotonic() + PAUSE > last:
            return False
        await asyncio.sleep(PAUSE)


async def _removed(engine: Engine, task: Task) -> bool:
    for container_id in await labelled(engine, task.operation_id):
        engine.creating.discard(task.operation_id)
        await engine.remove(container_id, force=True, anonymous_volumes=not _has_anonymous_volume(task))
    return task.operation_id not in engine.creating and not await labelled(engine, task.operation_id)


def _has_anonymous_volume(task: Task) -> bool:
    """Return whether the request mounts a volume that an engine has named. Podman removes such a one with the
    anonymous volumes of a container, although it is older and the container has it by its name.
    """
    mounts = task.parameters.get("mounts") or ()
    return any(is_engine_named(str(one).partition(":")[0]) for one in mounts)


async def labelled(engine: Engine, operation_id: str) -> list[str]:
    """Return the ids of the containers that this operation created. Raises WritError."""
    return [str(one["Id"]) for one in await engine.containers({OPERATION_LABEL: operation_id})]
