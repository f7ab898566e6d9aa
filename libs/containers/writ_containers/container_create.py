"""container_create: find or pull the image, create, start, wait for health. A failure halfway is undone."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from writ_agent.backends.port import Done, Progress, Task
from writ_containers import container_config, container_view
from writ_containers.engine import Engine
from writ_containers.health_wait import last_lines, settled
from writ_containers.settings_check import check_settings
from writ_contracts.catalogue.containers import ContainerCreate
from writ_contracts.errors import Conflict, Invalid, WritError
from writ_contracts.inventory import Target

Raw = Mapping[str, Any]


async def create(engine: Engine, task: Task, progress: Progress, until: float) -> Done:
    """Carry out the operation until `until`, in monotonic seconds. Raises WritError if refused before any effect."""
    given: ContainerCreate = task.arguments()
    check(engine, given, task.target)
    await _have_image(engine, given.image, progress)
    container_id = await _created(engine, given, task)
    try:
        return await _started(engine, given, container_id, progress, until)
    except WritError as error:
        gone = await taken_away(engine, task.operation_id)
        message = f"{error}; {'it was removed again' if gone else 'it may be left: look for its name'}"
        return Done(outcome="failed", code=error.code, message=message, effect="none" if gone else "maybe")


def check(engine: Engine, given: ContainerCreate, target: Target) -> None:
    """Raise Invalid for a setting with host access without its flag, or outside a bound."""
    check_settings([container_config.settings(given)], given, target, engine.address.socket)


async def preview(engine: Engine, task: Task) -> dict[str, Any]:
    """Return the API calls; variables by name only."""
    given: ContainerCreate = task.arguments()
    check(engine, given, task.target)
    if (taken := await engine.find_or_none(given.container_name)) is not None:
        raise _taken(given.container_name, taken)
    body = container_config.config(given, task.operation_id)
    calls = [] if await engine.image(given.image) is not None else [f"POST /images/create?fromImage={given.image}"]
    calls.append(f"POST /containers/create?name={given.container_name}")
    if given.start:
        calls.append("POST /containers/{id}/start")
    return {"calls": calls, "body": container_config.shown(body)}


async def taken_away(engine: Engine, operation_id: str) -> bool:
    """Remove the operation's containers, found by its label. Return True once they are seen to be gone."""
    try:
        for one in await engine.containers({container_view.OPERATION_LABEL: operation_id}):
            await engine.remove(str(one["Id"]), force=True)
        return not await engine.containers({container_view.OPERATION_LABEL: operation_id})
    except WritError:
        return False


async def _have_image(engine: Engine, image: str, progress: Progress) -> None:
    if await engine.image(image) is None:
        progress(f"pulls {image}")
        await engine.pull(image, progress)


async def _created(engine: Engine, given: ContainerCreate, task: Task) -> str:
    """The id; where the answer was lost, the engine is asked for the label."""
    try:
        return await engine.create(given.container_name, container_config.config(given, task.operation_id))
    except Conflict as error:
        taken = await engine.find_or_none(given.container_name)
        raise error if taken is None else _taken(given.container_name, taken) from error
    except WritError as error:
        if error.code not in ("connection_lost", "garbled"):
            raise
        ours = await engine.containers({container_view.OPERATION_LABEL: task.operation_id})
        if not ours:
            raise Invalid(f"{error}; nothing was created", code=error.code) from error
        return str(ours[0]["Id"])


async def _started(engine: Engine, given: ContainerCreate, container_id: str, progress: Progress, until: float) -> Done:
    if not given.start:
        raw = await engine.inspect(container_id)
        return _done(raw)
    await engine.start(container_id)
    end = await settled(engine, container_id, until, progress)
    done = _done(end.raw)
    if not end.code:
        return done
    output = {**done.output, "log": await last_lines(engine, container_id)}
    return replace(done, outcome="failed", code=end.code, message=f"created and started: {end.message}", output=output)


def _done(raw: Raw) -> Done:
    state = container_view.state(raw)
    return Done(outcome="succeeded", output=state, state=container_view.baseline(raw), effect="done")


def _taken(name: str, raw: Raw) -> Conflict:
    return Conflict(f"the name {name} belongs to container {str(raw.get('Id'))[:12]}", code="name_taken")
