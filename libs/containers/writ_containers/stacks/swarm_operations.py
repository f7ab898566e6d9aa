"""stack_* on a swarm manager: `docker stack deploy`, watched until the tasks of each service run; and the removal."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from writ_agent.backends.port import ProbeResult, Task, TaskResult, Verdict
from writ_agent.backends.processes import living
from writ_containers.compose.canonical_stack import images, public_digest, replicas
from writ_containers.compose.types import Stack
from writ_containers.containers.container_view import OPERATION_LABEL
from writ_containers.engine.api import Engine
from writ_containers.stacks import compose_command, swarm_api
from writ_containers.stacks.failure_reason import how_ended
from writ_containers.stacks.stack_view import StackEnd, StackService, judged
from writ_containers.stacks.swarm_format import stack_json
from writ_containers.stacks.swarm_view import has_failures, services_of, snapshot
from writ_contracts.catalogue.stacks import StackApply
from writ_contracts.errors import WritError

Raw = Mapping[str, Any]
PAUSE = 0.5
UP_IN_A_ROW = 4
"""A task that fails at once is reported as running before."""
TAIL = 8 * 1024


async def apply(engine: Engine, task: Task, stack: Stack, until: float) -> TaskResult:
    """Deploy a stack that was checked; `until` in monotonic seconds. Raises WritError before any effect."""
    parameters: StackApply = task.arguments()
    file, config = stack_json(stack, task.operation_id), engine.registries.config(images(stack))
    status, text = await compose_command.stack_deploy(
        task.operation_id, engine.endpoint, parameters.stack_name, file, config, resolve=parameters.pull
    )
    how = how_ended("docker stack deploy", (status, text), stack, parameters.env)
    try:
        found, end = await _settled(engine, parameters.stack_name, stack, until if status == 0 else 0.0)
        state = snapshot(await swarm_api.services(engine, parameters.stack_name) or ())
    except WritError as error:
        return _unseen(task, f"{how}; {error}", error.code)
    output = {
        "stack_name": parameters.stack_name,
        "compose_digest": public_digest(stack),
        "services": {name: one.text for name, one in found.items()},
        "log": text[-TAIL:],
    }
    done = TaskResult(outcome="succeeded", output=output, state=state, effect="done")
    if status == 0 and not end.message:
        return done
    problem = f"{how}; " if status else ""
    message = f"{problem}{end.message or 'every service is up'}"
    return replace(done, outcome="failed", code="stack_not_up", message=message, effect="done" if found else "maybe")


async def _settled(engine: Engine, name: str, stack: Stack, until: float) -> tuple[dict[str, StackService], StackEnd]:
    """Wait until every service has been up for a moment, one of them has failed, or time is over."""
    expected = {name: replicas(service) for name, service in stack.services.items()}
    seen_up = 0
    while True:
        found = await seen_services(engine, name)
        end = judged(expected, found)
        seen_up = 0 if end.message else seen_up + 1
        if (end.final and end.message) or seen_up >= UP_IN_A_ROW or time.monotonic() > until:
            return found, end
        await asyncio.sleep(PAUSE)


async def remove(engine: Engine, task: Task, volumes: list[str], until: float) -> TaskResult:
    """Remove services, wait for the end of their tasks, and remove networks and the given volumes."""
    name = str(task.parameters["stack_name"])
    services = await swarm_api.services(engine, name) or ()
    try:
        for one in services:
            await swarm_api.remove(engine, "services", str(one["ID"]))
        left = await _left(engine, name)
        while left and time.monotonic() < until:
            await asyncio.sleep(PAUSE)
            left = await _left(engine, name)
        for volume in volumes if not left else ():
            await engine.remove_volume(volume)
    except WritError as error:
        return _unseen(task, f"{error}; a part may be removed", error.code)
    if left:
        message = f"its services are removed; {left} are left"
        return TaskResult(outcome="failed", code="engine_conflict", message=message, effect="done")
    output = {"stack_name": name, "removed": True, "volumes": volumes}
    return TaskResult(outcome="succeeded", output=output, effect="done")


def _unseen(task: Task, problem: str, code: str) -> TaskResult:
    message = (
        f"{problem}. Look for its services: docker service ls --filter label={OPERATION_LABEL}={task.operation_id}"
    )
    return TaskResult(outcome="unknown", code=code, message=message, effect="maybe")


async def probe(engine: Engine, task: Task, before: Raw) -> ProbeResult:
    """Return the effect of the operation; unknown while a process of it goes on. Raises WritError."""
    name = str(task.parameters["stack_name"])
    runs = await asyncio.to_thread(living, task.operation_id)
    raw, tasks = await swarm_api.services(engine, name) or [], await swarm_api.tasks(engine, name)
    if task.operation.name == "stack_remove":
        verdict = _removed(before, raw, bool(await _remains(engine, name) or await swarm_api.networks(engine, name)))
    else:
        verdict = _applied(task, before, raw, tasks)
    reason = f"{len(raw)} services of the stack, {len(_of_operation(task, raw))} of this operation"
    return ProbeResult(verdict="unknown" if runs else verdict, observed={**snapshot(raw), "reason": reason})


async def seen_services(engine: Engine, name: str) -> dict[str, StackService]:
    """Return the services of the stack. Raises WritError."""
    found = await swarm_api.services(engine, name) or []
    return services_of(name, found, await swarm_api.tasks(engine, name))


def _applied(task: Task, before: Raw, raw: list[Raw], tasks: list[Raw]) -> Verdict:
    """`docker stack deploy` updates one service after another, so each of them must have the label of the operation."""
    ours, name = _of_operation(task, raw), str(task.parameters["stack_name"])
    if not ours and snapshot(raw)["containers"] == before.get("containers"):
        return "no_effect"
    found = services_of(name, raw, tasks)
    is_whole = bool(ours) and len(ours) == len(raw) and found.keys() == (before.get("expected") or {}).keys()
    is_up = all(one.up for one in found.values()) and not has_failures(raw, tasks)
    return "took_effect" if is_whole and is_up else "unknown"


def _removed(before: Raw, raw: list[Raw], left: bool) -> Verdict:
    if not raw and not left:
        return "took_effect"
    return "no_effect" if raw and snapshot(raw)["containers"] == before.get("containers") else "unknown"


def _of_operation(task: Task, raw: list[Raw]) -> list[Raw]:
    labels = ((one, one["Spec"].get("Labels") or {}) for one in raw)
    return [one for one, own in labels if own.get(OPERATION_LABEL) == task.operation_id]


async def _left(engine: Engine, name: str) -> str:
    """Remove the networks of a removed stack, once its tasks have ended. Return the remains."""
    if await _remains(engine, name):
        return "tasks"
    gone = [await swarm_api.remove_network(engine, str(one["Id"])) for one in await swarm_api.networks(engine, name)]
    return "" if all(gone) else "networks"


async def _remains(engine: Engine, name: str) -> bool:
    return bool(await engine.containers({swarm_api.NAMESPACE_LABEL: name}) or await swarm_api.tasks(engine, name))
