"""container_create: find or pull the image, create, start, wait for health. A failure halfway is undone."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from writ_agent.backends.port import Progress, Task, TaskResult
from writ_containers.checks.settings_check import check_settings
from writ_containers.containers import container_config, container_view
from writ_containers.containers.created_container import create_container, removed_until, where_to_look
from writ_containers.containers.health_wait import inspected, last_lines, settled
from writ_containers.engine.api import Engine
from writ_containers.engine.host_paths import host_paths
from writ_contracts.agents import PULLS
from writ_contracts.catalogue.containers import ContainerCreate
from writ_contracts.errors import Conflict, WritError
from writ_contracts.inventory import Target

Raw = Mapping[str, Any]


async def create(engine: Engine, task: Task, progress: Progress, until: float) -> TaskResult:
    """Carry out the operation until `until`, in monotonic seconds. Raises WritError if refused before any effect."""
    parameters: ContainerCreate = task.arguments()
    await check(engine, parameters, task.target)
    await _have_image(engine, parameters.image, progress)
    container_id = await _created(engine, parameters, task)
    if container_id is None:
        message = f"the engine does not reply; {where_to_look(task.operation_id)}"
        return TaskResult(outcome="unknown", code="connection_lost", message=message, effect="maybe")
    try:
        return await _started(engine, parameters, container_id, progress, until)
    except WritError as error:
        if await removed_until(engine, task, until):
            return TaskResult(outcome="failed", code=error.code, message=f"{error}; the container was removed again")
        message = f"{error}; {where_to_look(task.operation_id)}"
        return TaskResult(outcome="unknown", code=error.code, message=message, effect="maybe")


async def check(engine: Engine, parameters: ContainerCreate, target: Target) -> None:
    """Raise Invalid for a setting with host access without its flag, or outside a bound."""
    check_settings([container_config.settings(parameters)], parameters, await host_paths(engine, target))


async def preview(engine: Engine, task: Task) -> dict[str, Any]:
    """Return the API calls; variables by name only."""
    parameters: ContainerCreate = task.arguments()
    await check(engine, parameters, task.target)
    if (taken := await engine.find_or_none(parameters.container_name)) is not None:
        raise _taken(parameters.container_name, taken)
    body = container_config.config(parameters, task.operation_id)
    calls = (
        []
        if await engine.image(parameters.image) is not None
        else [f"POST /images/create?fromImage={parameters.image}"]
    )
    calls.append(f"POST /containers/create?name={parameters.container_name}")
    if parameters.start:
        calls.append("POST /containers/{id}/start")
    return {"calls": calls, "body": container_config.shown(body)}


async def _have_image(engine: Engine, image: str, progress: Progress) -> None:
    if await engine.image(image) is None:
        progress(f"{PULLS}{image}")
        end = await engine.pull(image, progress)
        if not end.is_whole:
            end.check(await engine.image(image))


async def _created(engine: Engine, parameters: ContainerCreate, task: Task) -> str | None:
    """Return the id of the created container; None where nobody knows it."""
    body = container_config.config(parameters, task.operation_id)
    try:
        return await create_container(engine, parameters.container_name, body, task.operation_id)
    except Conflict as error:
        taken = await engine.find_or_none(parameters.container_name)
        raise error if taken is None else _taken(parameters.container_name, taken) from error


async def _started(
    engine: Engine, parameters: ContainerCreate, container_id: str, progress: Progress, until: float
) -> TaskResult:
    if not parameters.start:
        return _done(await inspected(engine, container_id, until))
    await engine.start(container_id)
    end = await settled(engine, container_id, until, progress)
    done = _done(end.raw)
    if not end.code:
        return done
    output = {**done.output, "log": await last_lines(engine, container_id)}
    return replace(done, outcome="failed", code=end.code, message=f"created and started: {end.message}", output=output)


def _done(raw: Raw) -> TaskResult:
    state = container_view.state(raw)
    return TaskResult(outcome="succeeded", output=state, state=container_view.baseline(raw), effect="done")


def _taken(name: str, raw: Raw) -> Conflict:
    return Conflict(f"the name {name} belongs to container {str(raw.get('Id'))[:12]}", code="name_taken")
