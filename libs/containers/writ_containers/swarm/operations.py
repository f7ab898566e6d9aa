"""stack_* on a swarm manager: `docker stack deploy`, watched until the tasks of each service run; and the removal."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from writ_agent.backends.port import ProbeResult, Task, TaskResult, Verdict
from writ_containers.compose import command
from writ_containers.compose.canonical_stack import images, public_digest, replicas
from writ_containers.compose.types import Stack
from writ_containers.engine import Engine
from writ_containers.stack_view import StackEnd, StackService, judged
from writ_containers.swarm import api
from writ_containers.swarm.stack_format import stack_json
from writ_containers.swarm.stack_view import has_failures, services_of, snapshot
from writ_contracts.catalogue.stacks import StackApply, StackRemove

Raw = Mapping[str, Any]
PAUSE = 0.5
UP_IN_A_ROW = 4
"""A task that fails at once is seen as running before."""
TAIL = 8 * 1024


async def apply(engine: Engine, task: Task, stack: Stack, until: float) -> TaskResult:
    """Deploy a stack that was checked; `until` in monotonic seconds. Raises WritError before any effect."""
    parameters: StackApply = task.arguments()
    file, config = stack_json(stack), engine.registries.config(images(stack))
    status, text = await command.stack_deploy(
        task.operation_id, engine.endpoint, parameters.stack_name, file, config, resolve=parameters.pull
    )
    found, end = await _settled(engine, parameters.stack_name, stack, until if status == 0 else 0.0)
    state = snapshot(await api.services(engine, parameters.stack_name) or ())
    output = {
        "stack_name": parameters.stack_name,
        "compose_digest": public_digest(stack),
        "services": {name: one.text for name, one in found.items()},
        "log": text[-TAIL:],
    }
    done = TaskResult(outcome="succeeded", output=output, state=state, effect="done")
    if status == 0 and not end.message:
        return done
    problem = f"docker stack deploy ended with status {status}; " if status else ""
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
    parameters: StackRemove = task.arguments()
    for one in await api.services(engine, parameters.stack_name) or ():
        await api.remove(engine, "services", str(one["ID"]))
    left = await _left(engine, parameters.stack_name)
    while left and time.monotonic() < until:
        await asyncio.sleep(PAUSE)
        left = await _left(engine, parameters.stack_name)
    if left:
        message = f"its services are removed; {left} are left"
        return TaskResult(outcome="failed", code="engine_conflict", message=message, effect="done")
    for volume in volumes:
        await engine.remove_volume(volume)
    output = {"stack_name": parameters.stack_name, "removed": True, "volumes": volumes}
    return TaskResult(outcome="succeeded", output=output, effect="done")


async def probe(engine: Engine, task: Task, before: Raw) -> ProbeResult:
    """Return whether it took effect; the file is gone, so an unchanged stack proves nothing. Raises WritError."""
    name = str(task.parameters["stack_name"])
    raw = await api.services(engine, name) or []
    observed, verdict = snapshot(raw), _verdict(task, bool(raw), snapshot(raw) == dict(before))
    if verdict == "took_effect" and task.operation.name != "stack_remove":
        tasks = await api.tasks(engine, name)
        is_up = all(one.up for one in services_of(name, raw, tasks).values()) and not has_failures(raw, tasks)
        verdict = "took_effect" if is_up else "unknown"
    return ProbeResult(verdict=verdict, seen={**observed, "reason": f"{len(raw)} services of the stack"})


async def seen_services(engine: Engine, name: str) -> dict[str, StackService]:
    """Return the services of the stack. Raises WritError."""
    found = await api.services(engine, name) or []
    return services_of(name, found, await api.tasks(engine, name))


def _verdict(task: Task, exists: bool, same: bool) -> Verdict:
    if task.operation.name == "stack_remove":
        return "no_effect" if exists and same else "unknown" if exists else "took_effect"
    return "no_effect" if not exists else "unknown" if same else "took_effect"


async def _left(engine: Engine, name: str) -> str:
    """Return the remains of a removed stack; its networks go once its tasks have ended."""
    if await engine.containers({api.NAMESPACE_LABEL: name}) or await api.tasks(engine, name):
        return "tasks"
    gone = [await api.remove_network(engine, str(one["Id"])) for one in await api.networks(engine, name)]
    return "" if all(gone) else "networks"
