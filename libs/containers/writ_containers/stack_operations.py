"""stack_deploy, stack_update and stack_remove, judged by the engine's containers, not by an exit status."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from writ_agent.backends.port import ProbeResult, Progress, Task, TaskResult, Verdict
from writ_containers import container_view
from writ_containers.compose import command
from writ_containers.compose.canonical_stack import (
    compose_json,
    images,
    own_names,
    public_digest,
    replicas,
    settings,
    shown,
)
from writ_containers.compose.parse import parse
from writ_containers.compose.types import Stack
from writ_containers.engine import Engine
from writ_containers.settings_check import check_settings
from writ_containers.stack_view import StackService, differences, judged, services_of, snapshot
from writ_containers.swarm import api
from writ_containers.swarm import operations as swarm
from writ_containers.swarm.stack_format import stack_json
from writ_containers.swarm.stack_view import snapshot as swarm_snapshot
from writ_contracts.catalogue.stacks import StackApply, StackRemove
from writ_contracts.errors import Conflict, Invalid, WritError
from writ_contracts.inventory import Target

PAUSE = 0.3
TAIL = 8 * 1024
APPLY = ("stack_deploy", "stack_update")
OPERATIONS = frozenset({*APPLY, "stack_remove"})


async def run(engine: Engine, task: Task, progress: Progress, until: float) -> TaskResult:
    """Carry out the operation until `until`, in monotonic seconds. Raises WritError if refused before any effect."""
    in_swarm = await _is_in_swarm(engine, str(task.parameters["stack_name"]))
    if task.operation.name == "stack_remove":
        return await (_remove_from_swarm if in_swarm else _remove)(engine, task, until)
    given: StackApply = task.arguments()
    stack = await _checked(engine, task, in_swarm)
    if in_swarm:
        progress("runs docker stack deploy")
        return await swarm.apply(engine, task, stack, until)
    options = ["--no-build", "--remove-orphans", "--pull", "always" if given.pull else "missing"]
    progress("runs docker compose up")
    file, config = compose_json(stack, given.stack_name), engine.registries.config(images(stack))
    status, text = await command.up(task.operation_id, engine.endpoint, given.stack_name, file, options, config)
    return await _settled(engine, given, stack, (status, text[-TAIL:]), until)


async def status(engine: Engine, task: Task) -> dict[str, Any]:
    """Return the fields of StackStatus. Raises Invalid (`stack_not_found`)."""
    name = str(task.parameters["stack_name"])
    services = await _services(engine, name, await _is_in_swarm(engine, name))
    if not services:
        raise Invalid(f"no stack {name} on this engine", code="stack_not_found")
    return {
        "stack_name": name,
        "services": {name: one.text for name, one in services.items()},
        "images": {name: list(one.images) for name, one in services.items()},
        "containers": sum(one.containers for one in services.values()),
    }


async def names(engine: Engine) -> list[str]:
    """Return the names of all stacks. Raises WritError."""
    ours = [(one.get("Labels") or {}).get(container_view.PROJECT_LABEL) for one in await engine.containers()]
    services = await api.services(engine) or ()
    theirs = [(one["Spec"].get("Labels") or {}).get(api.NAMESPACE_LABEL) for one in services]
    return sorted({str(name) for name in (*ours, *theirs) if name})


async def baseline(engine: Engine, task: Task) -> dict[str, Any]:
    """Return the containers of the stack. Raises WritError."""
    name = str(task.parameters["stack_name"])
    if await _is_in_swarm(engine, name):
        return swarm_snapshot(await api.services(engine, name) or ())
    return snapshot(await _containers(engine, name))


async def probe(engine: Engine, task: Task, before: Mapping[str, Any]) -> ProbeResult:
    """Return the effect of the operation. The file is gone by now, so an unchanged stack proves nothing."""
    if await _is_in_swarm(engine, str(task.parameters["stack_name"])):
        return await swarm.probe(engine, task, before)
    found = await _containers(engine, str(task.parameters["stack_name"]))
    seen = snapshot(found)
    verdict: Verdict = "unknown"
    if task.operation.name == "stack_remove":
        verdict = "took_effect" if not found else "no_effect" if seen == dict(before) else "unknown"
    elif not found:
        verdict = "no_effect"
    elif seen != dict(before) and all(one.up for one in services_of(found).values()):
        verdict = "took_effect"
    return ProbeResult(verdict=verdict, seen={**seen, "reason": f"{len(found)} containers of the stack"})


async def preview(engine: Engine, task: Task) -> dict[str, Any]:
    """Return the changes by the operation. Raises WritError."""
    name = str(task.parameters["stack_name"])
    in_swarm = await _is_in_swarm(engine, name)
    found = await _services(engine, name, in_swarm)
    if task.operation.name == "stack_remove":
        volumes = await _volumes(engine, name, in_swarm) if task.parameters["volumes"] else []
        return {"removes": sorted(found), "volumes": volumes}
    stack = await _checked(engine, task, in_swarm)
    return {"changes": differences(stack, found), "compose": shown(stack), "compose_digest": public_digest(stack)}


async def stack_of(engine: Engine, given: StackApply, target: Target) -> Stack:
    """Return the stack, if permitted. Raises Invalid (`compose_refused`, `no_stack_dir`, and as check_settings)."""
    text = given.compose
    if text is None:
        text = await engine.stack_files.read(target, given.source or "")
    stack = parse(text, given.env, given.stack_name)
    check_settings(settings(stack), given, target, engine.address.socket)
    return stack


async def _checked(engine: Engine, task: Task, in_swarm: bool) -> Stack:
    """The stack of the request. Raises Invalid for one that may not be run, or not here."""
    given: StackApply = task.arguments()
    stack = await stack_of(engine, given, task.target)
    await _refuse_absent(engine, task, in_swarm)
    await _refuse_taken(engine, stack, given.stack_name, _label(in_swarm))
    if in_swarm:
        stack_json(stack)
    return stack


async def _is_in_swarm(engine: Engine, name: str) -> bool:
    """Whether the engine is a swarm manager. A stack that Compose has made there stays with Compose."""
    manages = await api.services(engine, name) is not None
    return manages and not await engine.containers({container_view.PROJECT_LABEL: name})


async def _services(engine: Engine, name: str, in_swarm: bool) -> dict[str, StackService]:
    return await swarm.seen_services(engine, name) if in_swarm else services_of(await _containers(engine, name))


def _label(in_swarm: bool) -> str:
    """The label on all that belongs to a stack."""
    return api.NAMESPACE_LABEL if in_swarm else container_view.PROJECT_LABEL


async def _remove_from_swarm(engine: Engine, task: Task, until: float) -> TaskResult:
    name = str(task.parameters["stack_name"])
    volumes = await _volumes(engine, name, True) if task.parameters["volumes"] else []
    return await swarm.remove(engine, task, volumes, until)


async def _refuse_absent(engine: Engine, task: Task, in_swarm: bool) -> None:
    name = str(task.parameters["stack_name"])
    if task.operation.name == "stack_update" and not await _services(engine, name, in_swarm):
        raise Invalid(
            f"no stack {task.parameters['stack_name']} on this engine: deploy it first", code="stack_not_found"
        )


async def _refuse_taken(engine: Engine, stack: Stack, name: str, label: str) -> None:
    """Raise Invalid if a volume or network of the stack would be an existing one of another owner."""
    own = {label: name}
    volumes = set(await engine.volumes({})) - set(await engine.volumes(own))
    networks = _names(await engine.networks({})) - _names(await engine.networks(own))
    taken = sorted((own_names(stack, name, "volumes") & volumes) | (own_names(stack, name, "networks") & networks))
    if taken:
        raise Invalid(
            f"{', '.join(taken)} of this engine would be used and do not belong to stack {name}: choose others, or "
            "declare it as external",
            code="compose_refused",
        )


def _names(networks: list[Mapping[str, Any]]) -> set[str]:
    return {str(one.get("Name", "")) for one in networks}


async def _settled(engine: Engine, given: StackApply, stack: Stack, ended: tuple[int, str], until: float) -> TaskResult:
    """Wait until every service is up, one of them has failed, or time is over."""
    wanted = {name: replicas(service) for name, service in stack.services.items()}
    while True:
        found = await _containers(engine, given.stack_name)
        services = services_of(found)
        end = judged(wanted, services)
        if end.final or ended[0] != 0 or time.monotonic() > until:
            return _done(given, stack, services, found, ended, end.message)
        await asyncio.sleep(PAUSE)


def _done(
    given: StackApply,
    stack: Stack,
    services: Mapping[str, StackService],
    found: list[Mapping[str, Any]],
    ended: tuple[int, str],
    problem: str,
) -> TaskResult:
    output = {
        "stack_name": given.stack_name,
        "compose_digest": public_digest(stack),
        "services": {name: one.text for name, one in services.items()},
        "log": ended[1],
    }
    done = TaskResult(outcome="succeeded", output=output, state=snapshot(found), effect="done")
    if ended[0] == 0 and not problem:
        return done
    if ended[0] != 0:
        problem = f"docker compose ended with status {ended[0]}; {problem or 'every service is up'}"
    effect = "done" if found else "maybe"
    return replace(done, outcome="failed", code="stack_not_up", message=problem, effect=effect)


async def _remove(engine: Engine, task: Task, until: float) -> TaskResult:
    """Remove the stack by the labels of Compose on all its parts; no file is needed."""
    given: StackRemove = task.arguments()
    found = await _containers(engine, given.stack_name)
    networks = await engine.networks({container_view.PROJECT_LABEL: given.stack_name})
    volumes = await _volumes(engine, given.stack_name, False) if given.volumes else []
    if not found and not networks and not volumes:
        return TaskResult(outcome="succeeded", output={"stack_name": given.stack_name, "removed": True}, effect="none")
    await _stop_all(engine, found, until)
    for one in found:
        await engine.remove(str(one["Id"]), force=True)
    for network in networks:
        await engine.remove_network(str(network["Id"]))
    for volume in volumes:
        await engine.remove_volume(volume)
    if left := await _containers(engine, given.stack_name):
        message = f"{len(left)} of its containers are left"
        return TaskResult(outcome="failed", code="engine_conflict", message=message, effect="done")
    output = {"stack_name": given.stack_name, "removed": True, "volumes": volumes}
    return TaskResult(outcome="succeeded", output=output, effect="done")


async def _stop_all(engine: Engine, found: list[Mapping[str, Any]], until: float) -> None:
    """At once; each has its own time to end, and less where the operation has no more."""
    left = max(1, int(until - time.monotonic()) - 2)
    stopping = (engine.stop(str(one["Id"]), min(container_view.stop_seconds(one), left)) for one in found)
    for end in await asyncio.gather(*stopping, return_exceptions=True):
        if isinstance(end, WritError | asyncio.CancelledError) and not isinstance(end, Conflict | Invalid):
            raise end


async def _containers(engine: Engine, name: str) -> list[Mapping[str, Any]]:
    """Inspect all containers of the stack; one removed meanwhile is left out."""
    found = []
    for one in await engine.containers({container_view.PROJECT_LABEL: name}):
        try:
            found.append(await engine.inspect(str(one["Id"])))
        except Invalid as error:
            if error.code != "not_found":
                raise
    return found


async def _volumes(engine: Engine, name: str, in_swarm: bool) -> list[str]:
    return sorted(await engine.volumes({_label(in_swarm): name}))
