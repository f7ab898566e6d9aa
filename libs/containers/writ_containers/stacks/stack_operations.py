"""stack_deploy, stack_update and stack_remove, judged by the engine's containers, not by an exit status."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from writ_agent.backends.port import ProbeResult, Progress, Task, TaskResult
from writ_containers.checks.settings_check import check_settings
from writ_containers.compose.canonical_stack import compose_json, images, own_names, public_digest, settings, shown
from writ_containers.compose.parse import parse
from writ_containers.compose.types import Stack
from writ_containers.containers import container_view
from writ_containers.containers.health_wait import SETTLING, SteadyStarts
from writ_containers.engine.api import Engine
from writ_containers.engine.host_paths import host_paths
from writ_containers.engine.late_effects import CERTAIN_AFTER
from writ_containers.engine.snapshot_names import WITHOUT_DOCKER_HUB
from writ_containers.stacks import compose_command, stack_baseline, stack_removal, swarm_api
from writ_containers.stacks import swarm_operations as swarm
from writ_containers.stacks.failure_reason import how_ended
from writ_containers.stacks.stack_baseline import StackParts, kept_volumes, stack_containers
from writ_containers.stacks.stack_judgement import expected, expected_in_baseline, is_complete, is_unchanged, snapshot
from writ_containers.stacks.stack_view import StackService, differences, judged, services_of
from writ_containers.stacks.swarm_format import stack_json
from writ_containers.stacks.swarm_view import snapshot as swarm_snapshot
from writ_contracts.catalogue.stacks import StackApply
from writ_contracts.errors import Conflict, Invalid, WritError
from writ_contracts.inventory import Target

PAUSE = 0.3
TAIL = 8 * 1024
APPLY = ("stack_deploy", "stack_update")
OPERATIONS = frozenset({*APPLY, "stack_remove"})
UNSETTLED = f"every service is up, but did not run for {SETTLING:g} s without a restart in time"


async def run(engine: Engine, task: Task, progress: Progress, until: float) -> TaskResult:
    """Carry out the operation until `until`, in monotonic seconds. Raises WritError if refused before any effect."""
    in_swarm = await _is_in_swarm(engine, str(task.parameters["stack_name"]))
    if task.operation.name == "stack_remove":
        return await (_remove_from_swarm if in_swarm else stack_removal.remove)(engine, task, until)
    arguments: StackApply = task.arguments()
    stack, _ = await _checked(engine, task, in_swarm)
    if in_swarm:
        progress("runs docker stack deploy")
        return await swarm.apply(engine, task, stack, until)
    options = ["--no-build", "--remove-orphans", "--pull", "always" if arguments.pull else "missing"]
    progress("runs docker compose up")
    file, config = compose_json(stack, arguments.stack_name), engine.registries.config(images(stack))
    status, text = await compose_command.up(
        task.operation_id, engine.endpoint, arguments.stack_name, file, options, config
    )
    return await _settled(engine, task, stack, (status, text[-TAIL:]), until)


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
    services = await swarm_api.services(engine) or ()
    theirs = [(one["Spec"].get("Labels") or {}).get(swarm_api.NAMESPACE_LABEL) for one in services]
    return sorted({str(name) for name in (*ours, *theirs) if name})


async def baseline(engine: Engine, task: Task) -> dict[str, Any]:
    """Return the state of the stack, and for a deploy also facts about its file. Raises WritError."""
    name = str(task.parameters["stack_name"])
    if await _is_in_swarm(engine, name):
        found = swarm_snapshot(await swarm_api.services(engine, name) or ())
    else:
        found = await stack_baseline.baseline(engine, task)
    return found if task.operation.name == "stack_remove" else {**found, **await _declared(engine, task)}


async def _declared(engine: Engine, task: Task) -> dict[str, Any]:
    """Return the facts about the file, as far as the request shows it: a preview has no secret parameters. The
    operation itself refuses a bad file.
    """
    found: dict[str, Any] = {}
    text = task.parameters.get("compose")
    try:
        if source := task.parameters.get("source"):
            text, found["source_version"] = await engine.stack_files.read(task.target, str(source))
        if text is not None:
            stack = parse(str(text), task.parameters.get("env") or {}, str(task.parameters["stack_name"]))
            found["expected"] = expected_in_baseline(stack)
    except Invalid:
        return found
    return found


async def probe(engine: Engine, task: Task, before: Mapping[str, Any]) -> ProbeResult:
    """Return the effect of the operation. Raises WritError."""
    if await _is_in_swarm(engine, str(task.parameters["stack_name"])):
        return await swarm.probe(engine, task, before)
    return await stack_baseline.probe(engine, task, before)


async def preview(engine: Engine, task: Task) -> dict[str, Any]:
    """Return the changes by the operation. Raises WritError."""
    name = str(task.parameters["stack_name"])
    in_swarm = await _is_in_swarm(engine, name)
    found = await _services(engine, name, in_swarm)
    if task.operation.name == "stack_remove":
        volumes = await _volumes(engine, name, in_swarm) if task.parameters["volumes"] else []
        removal = {"removes": sorted(found), "volumes": volumes}
        if in_swarm:  # the volumes that stay are on other nodes, too
            return removal
        return {**removal, "kept_volumes": kept_volumes(await stack_containers(engine, name), volumes)}
    stack, version = await _checked(engine, task, in_swarm)
    result = {"changes": differences(stack, found), "compose": shown(stack), "compose_digest": public_digest(stack)}
    return {**result, "source_version": version} if version else result


async def stack_of(engine: Engine, arguments: StackApply, target: Target) -> tuple[Stack, str]:
    """Return the stack, if permitted, and the version of its file. Raises Invalid (`compose_refused`, `no_stack_dir`,
    and as check_settings).
    """
    text, version = arguments.compose, ""
    if text is None:
        text, version = await engine.stack_files.read(target, arguments.source or "")
    stack = parse(text, arguments.env, arguments.stack_name)
    check_settings(settings(stack), arguments, await host_paths(engine, target))
    for image in images(stack):
        if image.startswith(f"{WITHOUT_DOCKER_HUB}:"):  # a registry of this name could serve a snapshot
            raise Invalid(f"{image} is the name of a snapshot, which no registry has", code="compose_refused")
    return stack, version


async def _checked(engine: Engine, task: Task, in_swarm: bool) -> tuple[Stack, str]:
    """Return the stack of the request, and the version of its file. Raises Invalid for a stack that may not be run, or
    not here; Conflict for a file that is not the one of the baseline, by which an approval was arguments.
    """
    arguments: StackApply = task.arguments()
    stack, version = await stack_of(engine, arguments, task.target)
    if version != task.baseline.get("source_version", version):
        raise Conflict(f"{arguments.source} in stack_dir was written since the operation began", code="source_changed")
    await _refuse_absent(engine, task, in_swarm)
    await _refuse_taken(engine, stack, arguments.stack_name, _label(in_swarm))
    if in_swarm:
        stack_json(stack, task.operation_id)
    return stack, version


async def _is_in_swarm(engine: Engine, name: str) -> bool:
    """Return whether the engine is a swarm manager. A stack that Compose has made there stays with Compose."""
    manages = await swarm_api.services(engine, name) is not None
    return manages and not await engine.containers({container_view.PROJECT_LABEL: name})


async def _services(engine: Engine, name: str, in_swarm: bool) -> dict[str, StackService]:
    return await swarm.seen_services(engine, name) if in_swarm else services_of(await stack_containers(engine, name))


def _label(in_swarm: bool) -> str:
    """Return the label on all that belongs to a stack."""
    return swarm_api.NAMESPACE_LABEL if in_swarm else container_view.PROJECT_LABEL


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


async def _settled(engine: Engine, task: Task, stack: Stack, ended: tuple[int, str], until: float) -> TaskResult:
    """Wait until every service has been up for a moment, one of them has failed, or time is over."""
    last = until if ended[0] == 0 else min(until, time.monotonic() + CERTAIN_AFTER)
    starts = SteadyStarts()
    while True:
        try:
            parts = await stack_baseline.stack_parts(engine, task)
        except WritError as error:
            if time.monotonic() > last:
                return _unseen(task, stack, ended, error)
        else:
            end = judged(expected(stack), services_of(parts.containers))
            is_over = end.final if end.message else starts.seconds(parts.containers) >= SETTLING
            if is_over or ended[0] != 0:
                return _done(task, stack, parts, ended, end.message)
            if time.monotonic() > last:
                return _done(task, stack, parts, ended, end.message or UNSETTLED)
        await asyncio.sleep(PAUSE)


def _done(task: Task, stack: Stack, parts: StackParts, ended: tuple[int, str], problem: str) -> TaskResult:
    """Judge by the containers. Where Compose broke off, only those of this operation are known to be as in the file."""
    after = snapshot(parts.containers, parts.names)
    services = {name: one.text for name, one in services_of(parts.containers).items()}
    output = {**_output(task, stack, ended), "services": services}
    done = TaskResult(outcome="succeeded", output=output, state=after, effect="done")
    if not problem and (ended[0] == 0 or is_complete(task.operation_id, expected(stack), parts.containers)):
        return done
    unchanged, how = is_unchanged(task.baseline, after), _how_ended(task, stack, ended)
    if not problem and not unchanged:
        message = f"{how}; every service is up, maybe not all with the new settings"
        return replace(done, outcome="unknown", code="not_confirmed", message=message, effect="maybe")
    if ended[0] != 0:
        problem = f"{how}; {problem or 'every service is up, as before'}"
    return replace(
        done, outcome="failed", code="stack_not_up", message=problem, effect="maybe" if unchanged else "done"
    )


def _unseen(task: Task, stack: Stack, ended: tuple[int, str], error: WritError) -> TaskResult:
    message = f"{_how_ended(task, stack, ended)}; {error}. Look for what was created: docker ps --all"
    message += f" --filter label={container_view.STACK_OPERATION_LABEL}={container_view.stack_mark(task.operation_id)}"
    output = _output(task, stack, ended)
    return TaskResult(outcome="unknown", code=error.code, message=message, output=output, effect="maybe")


def _how_ended(task: Task, stack: Stack, ended: tuple[int, str]) -> str:
    return how_ended("docker compose", ended, stack, task.parameters.get("env") or {})


def _output(task: Task, stack: Stack, ended: tuple[int, str]) -> dict[str, Any]:
    name = task.parameters["stack_name"]
    return {"stack_name": name, "compose_digest": public_digest(stack), "log": ended[1]}


async def _volumes(engine: Engine, name: str, in_swarm: bool) -> list[str]:
    return sorted(await engine.volumes({_label(in_swarm): name}))
