"""Operations on an engine, by name: run, baseline, probe, preview, listings. Cancelling `run` ends the operation."""

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from msgspec.structs import replace

from writ_agent.backends.hostops_requests import redact, redacted
from writ_agent.backends.port import ProbeResult, Progress, Task, TaskResult, cannot_list
from writ_containers.backups import operations as backups
from writ_containers.containers import (
    container_changes,
    container_create,
    container_snapshots,
    container_update,
    container_view,
    image_pull,
)
from writ_containers.containers.created_container import remove_created, where_to_look
from writ_containers.engine.api import Engine
from writ_containers.engine.late_effects import CERTAIN_AFTER, observe_late
from writ_containers.secret_values import secret_values
from writ_containers.stacks import stack_baseline, stack_operations
from writ_contracts.errors import WritError
from writ_contracts.inventory import Target

CHANGES = ("container_start", "container_stop", "container_restart", "container_delete")
READS = ("container_inspect", "container_list", "container_logs", "stack_status")
SHARED = frozenset({*container_snapshots.OPERATIONS, *backups.OPERATIONS})
"""Operations that hosts have as well: those that name a container are the engine's."""
OWN = frozenset({"container_create", "container_update", "image_pull", *READS, *CHANGES, *stack_operations.OPERATIONS})
OPERATIONS = OWN | SHARED
LISTINGS = frozenset({"list_containers", "list_stacks", "list_images", "list_volumes"})
"""Those that hosts do not have themselves."""
LONGEST_LOG = 64 * 1024
SPARE_SECONDS = 1.0
"""Before the operation's own time is over, for its last words."""
CANCEL_SECONDS = 1.8
"""For the way back; with the reply that it may wait for before (`whole_requests`), less than the usual grace."""
STILL_POSSIBLE = "the engine may still carry out a request of it"
ENDS_CLEAN = frozenset({"image_pull", "container_update", "snapshot_restore", "backup_restore"})
"""Changes that a stop finds without effect: an engine ends a pull whose client has left, and what has begun to replace
a container handles its own stop (`container_replace`).
"""

TAKES_LONG = frozenset({*CHANGES, "snapshot_create"})
"""The engine goes on with these, for seconds or minutes, although nobody waits for them any more."""


async def run(engine: Engine, task: Task, progress: Progress) -> TaskResult:
    """Carry out the operation. Raises WritError if refused before any effect."""
    engine.probed.forget(task.operation_id, task.attempt)
    until = time.monotonic() + max(task.timeout - SPARE_SECONDS, task.timeout / 2)
    secrets, last = secret_values(task), ""

    def report(text: str) -> None:
        nonlocal last
        last = redact(text, secrets)
        progress(last)

    try:
        done = await _run(engine, task, report, until)
    except WritError as error:
        raise type(error)(redact(str(error), secrets), code=error.code) from None
    except asyncio.CancelledError:
        return await _cancelled(engine, task, last)
    finally:
        engine.creating.discard(task.operation_id)
    return replace(done, message=redact(done.message, secrets))


async def baseline(engine: Engine, task: Task) -> dict[str, Any]:
    """Return the container as it is; nothing before it is created. Raises WritError."""
    if task.operation.name in stack_operations.OPERATIONS:
        return await stack_operations.baseline(engine, task)
    if task.operation.name == "image_pull":
        return await image_pull.baseline(engine, task)
    if task.operation.name in container_snapshots.OPERATIONS:
        return await container_snapshots.baseline(engine, task)
    name = str(task.parameters["container_name"])
    raw = await (engine.find_or_none if task.operation.name == "container_create" else engine.find)(name)
    return {} if raw is None else container_view.baseline(raw)


async def probe(engine: Engine, task: Task, before: Mapping[str, Any]) -> ProbeResult:
    """Return whether it took effect. Raises WritError.

    The engine may still have a request of it, so no effect is only certain after some seconds. If they are more than
    one probe has, it is `unknown`, and the next one goes on where this one ended.
    """
    until = time.monotonic() + max(task.timeout - SPARE_SECONDS, task.timeout / 2)
    first = await _look(engine, task, before)
    if _shows_effect(first) or not _asks_the_engine(task):
        return first
    again = partial(_look, engine, task, before)
    if task.operation.name == "backup_create":
        again = partial(backups.probe_container, engine, task, first)
    seconds, answers = await _late_seconds(engine, task), engine.probed.of(task.operation_id, task.attempt)
    observed = await observe_late(again, _shows_effect, seconds, until, answers)
    if observed.seen is not None and observed.is_certain:
        engine.probed.forget(task.operation_id, task.attempt)
        return observed.seen
    return ProbeResult(verdict="unknown", observed={**first.observed, "reason": STILL_POSSIBLE})


def _shows_effect(judged: ProbeResult) -> bool:
    return judged.verdict != "no_effect"


def _asks_the_engine(task: Task) -> bool:
    """Return whether the engine may still have a request of it that changes something."""
    quiet = task.operation.name == "backup_create" and task.parameters.get("quiesce") == "none"
    return task.operation.name != "backup_delete" and not quiet


async def _late_seconds(engine: Engine, task: Task) -> float:
    """Return the seconds in which an engine that answers ends what it still has of the operation. Raises WritError."""
    return CERTAIN_AFTER + max(await _stop_seconds(engine, task), default=0)


async def _stop_seconds(engine: Engine, task: Task) -> list[int]:
    """Return the seconds to stop of each container that the operation stops, as it sends them. A task of a probe has a
    timeout of its own. Raises WritError.
    """
    name = str(task.parameters.get("container_name"))
    match task.operation.name:
        case "container_stop" | "container_restart":
            return [container_changes.sent_seconds(await engine.find(name), task.arguments().timeout)]
        case "stack_remove":
            found = (await stack_baseline.stack_parts(engine, task)).containers
            return [min(container_view.stop_seconds(one), int(task.arguments().timeout)) for one in found]
        case "stack_deploy" | "stack_update":
            found = (await stack_baseline.stack_parts(engine, task)).containers
            return [container_view.stop_seconds(one) for one in found]
        case "backup_create" if task.parameters.get("quiesce") == "stop":
            return [container_view.stop_seconds(await engine.find(name))]
        case _:
            return []


async def _look(engine: Engine, task: Task, before: Mapping[str, Any]) -> ProbeResult:
    match task.operation.name:
        case name if name in stack_operations.OPERATIONS:
            return await stack_operations.probe(engine, task, before)
        case name if name in container_snapshots.OPERATIONS:
            return await container_snapshots.probe(engine, task, before)
        case name if name in backups.OPERATIONS:
            return await backups.probe(engine, task, before)
        case "container_update":
            return await container_update.probe(engine, task, before)
        case "image_pull":
            return await image_pull.probe(engine, task, before)
        case _:
            return await container_changes.judge(engine, task, before)


async def preview(engine: Engine, task: Task) -> dict[str, Any]:
    """Return the preview, without secret values of the request in any place. Raises WritError."""
    secrets = secret_values(task)
    try:
        shown: dict[str, Any] = redacted(await _preview(engine, task), secrets)
    except WritError as error:
        raise type(error)(redact(str(error), secrets), code=error.code) from None
    return shown


async def _preview(engine: Engine, task: Task) -> dict[str, Any]:
    match task.operation.name:
        case name if name in stack_operations.OPERATIONS:
            return await stack_operations.preview(engine, task)
        case name if name in container_snapshots.OPERATIONS:
            return await container_snapshots.preview(engine, task)
        case name if name in backups.OPERATIONS:
            return await backups.preview(engine, task)
        case "container_create":
            return await container_create.preview(engine, task)
        case "container_update":
            return await container_update.preview(engine, task)
        case "image_pull":
            return await image_pull.preview(engine, task)
        case _:
            return await container_changes.preview(engine, task)


async def listing(engine: Engine, target: Target, source: str) -> list[str]:
    """Return all names. Raises WritError."""
    match source:
        case "list_containers":
            return sorted(name for one in await engine.containers() for name in container_view.names(one))
        case "list_stacks":
            return await stack_operations.names(engine)
        case "list_images":
            return sorted({str(name) for one in await engine.images({}) for name in image_pull.references(one)})
        case "list_volumes":
            return sorted(await engine.volumes({}))
        case "list_snapshots":
            return await container_snapshots.names(engine)
        case "list_backups":
            return await backups.names(target)
        case _:
            raise cannot_list(source)


async def _run(engine: Engine, task: Task, progress: Progress, until: float) -> TaskResult:
    match task.operation.name:
        case name if name in READS:
            return await _read(engine, task)
        case "container_create":
            return await container_create.create(engine, task, progress, until)
        case "container_update":
            return await container_update.update(engine, task, progress, until)
        case "image_pull":
            return await image_pull.pull(engine, task, progress)
        case name if name in stack_operations.OPERATIONS:
            return await stack_operations.run(engine, task, progress, until)
        case name if name in container_snapshots.OPERATIONS:
            return await container_snapshots.run(engine, task, progress, until)
        case name if name in backups.OPERATIONS:
            return await backups.run(engine, task, progress, until)
        case _:
            return await container_changes.change(engine, task, progress, until)


async def _read(engine: Engine, task: Task) -> TaskResult:
    match task.operation.name:
        case "container_list":
            shown = map(container_view.listed, await engine.containers())
            selected = [one for one in shown if one["state"] == "running" or not task.parameters["running"]]
            return TaskResult(
                outcome="succeeded", output={"containers": sorted(selected, key=lambda one: one["container_name"])}
            )
        case "stack_status":
            return TaskResult(outcome="succeeded", output=await stack_operations.status(engine, task))
    raw = await engine.find(str(task.parameters["container_name"]))
    if task.operation.name == "container_inspect":
        return TaskResult(outcome="succeeded", output=container_view.details(raw), state=container_view.baseline(raw))
    log = await engine.logs(str(raw["Id"]), task.parameters["lines"], LONGEST_LOG)
    return TaskResult(outcome="succeeded", output={"container_name": task.parameters["container_name"], "log": log})


async def _cancelled(engine: Engine, task: Task, last: str) -> TaskResult:
    """Handle a cancel: remove created containers. After another change the container shows its progress. `last`: the
    last report of the progress, which says what it waited for.
    """
    waited = f"its last step was: {last}" if last else ""
    if task.operation.read_only or task.operation.name in ENDS_CLEAN:
        return TaskResult(outcome="cancelled", code="cancelled", message=waited)
    try:
        async with asyncio.timeout(CANCEL_SECONDS):
            if task.operation.name == "container_create":
                return _cancelled_create(task, await remove_created(engine, task), waited)
            judged = await _look(engine, task, task.baseline)
    except (WritError, TimeoutError):
        if task.operation.name == "container_create":
            return _cancelled_create(task, False, waited)
        return TaskResult(outcome="unknown", code="cancelled", message=waited, effect="maybe", over=False)
    message = str(judged.observed.get("reason", ""))
    is_over = judged.verdict == "took_effect" or task.operation.name not in TAKES_LONG
    return TaskResult(outcome="unknown", code="cancelled", message=message, effect="maybe", over=is_over)


def _cancelled_create(task: Task, gone: bool, waited: str) -> TaskResult:
    first = "what it had created was removed again" if gone else where_to_look(task.operation_id)
    message = "; ".join(filter(None, (first, waited)))
    if gone:
        return TaskResult(outcome="cancelled", code="cancelled", message=message)
    return TaskResult(outcome="unknown", code="cancelled", message=message, effect="maybe", over=False)
