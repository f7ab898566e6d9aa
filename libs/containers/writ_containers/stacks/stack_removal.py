"""stack_remove on an engine without a swarm: by the labels of Compose on all parts of a stack, so no file is needed."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from writ_agent.backends.port import ProbeResult, Task, TaskResult
from writ_containers.containers import container_view
from writ_containers.engine.api import Engine
from writ_containers.engine.engine_errors import LOST
from writ_containers.engine.late_effects import CERTAIN_AFTER, PAUSE
from writ_containers.stacks.stack_baseline import StackParts, kept_volumes, probe, stack_parts
from writ_contracts.errors import Conflict, Invalid, WritError

Raw = Mapping[str, Any]


async def remove(engine: Engine, task: Task, until: float) -> TaskResult:
    """Remove the stack until `until`, in monotonic seconds. Raises WritError where it cannot be read before."""
    parts = await stack_parts(engine, task)
    output = _output(task, parts)
    if parts.is_empty:
        return TaskResult(outcome="succeeded", output=output, effect="none")
    try:
        await _remove(engine, parts, until)
        left = (await stack_parts(engine, task)).containers
    except WritError as error:
        return await _after_error(engine, task, parts, error, until)
    if left:
        message = f"{len(left)} of its containers are left"
        return TaskResult(outcome="failed", code="engine_conflict", message=message, effect="done")
    return TaskResult(outcome="succeeded", output=output, effect="done")


def _output(task: Task, parts: StackParts) -> dict[str, Any]:
    kept = kept_volumes(parts.containers, parts.volumes)
    return {
        "stack_name": task.parameters["stack_name"],
        "removed": True,
        "volumes": parts.volumes,
        "kept_volumes": kept,
    }


async def _remove(engine: Engine, parts: StackParts, until: float) -> None:
    await _stop_all(engine, parts.containers, until)
    for one in parts.containers:
        await engine.remove(str(one["Id"]), force=True)
    for network in parts.networks:
        await engine.remove_network(str(network["Id"]))
    for volume in parts.volumes:
        await engine.remove_volume(volume)


async def _stop_all(engine: Engine, found: list[Raw], until: float) -> None:
    """Stop all containers at once. Each has its own time to end, and less where the operation has no more."""
    left = max(1, int(until - time.monotonic()) - 2)
    stopping = (engine.stop(str(one["Id"]), min(container_view.stop_seconds(one), left)) for one in found)
    for end in await asyncio.gather(*stopping, return_exceptions=True):
        if isinstance(end, WritError | asyncio.CancelledError) and not isinstance(end, Conflict | Invalid):
            raise end


async def _after_error(engine: Engine, task: Task, parts: StackParts, error: WritError, until: float) -> TaskResult:
    """Judge by what is left: at once if the engine has answered, else once its time is over."""
    lost = error.code in LOST or error.code == "unreachable"
    stops = max((container_view.stop_seconds(one) for one in parts.containers), default=0)
    last = min(until, time.monotonic() + (CERTAIN_AFTER + stops if lost else 0.0))
    while True:
        judged = await _probed(engine, task)
        if (judged is not None and judged.verdict == "took_effect") or time.monotonic() >= last:
            break
        await asyncio.sleep(PAUSE)
    reason = judged.observed["reason"] if judged is not None else "the engine does not answer any more"
    message = f"{error}; {reason}"
    if judged is None or (lost and judged.verdict != "took_effect"):
        return TaskResult(outcome="unknown", code=error.code, message=message, effect="maybe")
    match judged.verdict:
        case "took_effect":
            return TaskResult(outcome="succeeded", output=_output(task, parts), effect="done")
        case "no_effect":
            return TaskResult(outcome="failed", code=error.code, message=message, effect="none")
        case _:
            return TaskResult(outcome="failed", code=error.code, message=message, effect="done")


async def _probed(engine: Engine, task: Task) -> ProbeResult | None:
    """Return the state of the stack; None where the engine does not answer."""
    try:
        return await probe(engine, task, task.baseline)
    except WritError:
        return None
