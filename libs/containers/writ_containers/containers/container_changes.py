"""container_start, _stop, _restart and _delete, by the current container of a name and judged by inspection.

The engine's answer is one sign of the outcome; after an error or a lost answer the container itself is inspected.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from writ_agent.backends.port import Effect, ProbeResult, Progress, Task, TaskResult
from writ_containers.containers import container_judgement, container_view
from writ_containers.containers.health_wait import inspected, last_lines, settled
from writ_containers.engine.api import Engine
from writ_containers.engine.engine_errors import LOST
from writ_containers.engine.late_effects import CERTAIN_AFTER, PAUSE, LastSeen, observe_late
from writ_containers.engine.whole_requests import answered
from writ_contracts.errors import Conflict, Unreachable, WritError

Raw = Mapping[str, Any]
CANCEL_SECONDS = 1.5
"""To inspect the container after a cancel; with the wait for the reply (`whole_requests`) less than the usual grace."""


class StartRequest:
    """The request of a start. `refusal`: the engine's reply to it, if it is an error."""

    refusal: WritError | None = None

    async def send(self, engine: Engine, container_id: str) -> None:
        """Start the container. Raises WritError."""
        try:
            await engine.start(container_id)
        except WritError as error:
            self.refusal = None if error.code in LOST else error
            raise


async def change(engine: Engine, task: Task, progress: Progress, until: float) -> TaskResult:
    """Carry out the operation until `until`, in monotonic seconds. Raises WritError if refused before any effect."""
    try:
        raw = await engine.find(str(task.parameters["container_name"]))
    except asyncio.CancelledError:
        return TaskResult(outcome="cancelled", code="cancelled", message="it was stopped before it began")
    _refuse_another(task, raw)
    if _is_so(task, raw):
        return _ended(raw, effect="none")
    _refuse_running(task, raw)
    before, start = container_view.baseline(raw), StartRequest()
    try:
        await _call(engine, task, raw, start)
    except Unreachable:
        raise
    except asyncio.CancelledError:
        if start.refusal is None:
            raise
        return await _refused_start(engine, task, raw, start.refusal)
    except WritError as error:
        judged, is_certain = await _after(engine, task, raw, error, until)
        if judged is None or judged.verdict != "took_effect":
            return _not_done(task, raw, judged, error, is_certain)
        if error.code not in (*LOST, "not_found"):
            message = f"{error}; {_reason(judged)}"
            return TaskResult(outcome="failed", code=error.code, message=message, effect="done")
    return await _observed_end(engine, task, before, progress, until)


async def judge(engine: Engine, task: Task, before: Mapping[str, Any]) -> ProbeResult:
    """Return whether it took effect, as the engine shows it now. Raises WritError."""
    raw = await engine.find_or_none(str(task.parameters["container_name"]))
    after = None if raw is None else container_view.baseline(raw)
    if verb_of(task) == "create":
        is_reached = raw is not None and (not task.parameters.get("start", True) or container_view.is_well(raw))
        label = container_view.operation_of(raw)
        verdict, reason = container_judgement.created(task.operation_id, label, is_reached=is_reached)
    else:
        verdict, reason = container_judgement.judge(verb_of(task), before, after)
    return ProbeResult(verdict=verdict, observed={**(after or {}), "reason": reason})


async def preview(engine: Engine, task: Task) -> dict[str, Any]:
    """Return the API call, and the container acted on."""
    raw = await engine.find(str(task.parameters["container_name"]))
    so = _is_so(task, raw)
    if not so:
        _refuse_running(task, raw)
    return {"calls": [] if so else [_call_text(task, raw)], "container": container_view.baseline(raw)}


def verb_of(task: Task) -> str:
    """Return create, delete, start, stop, restart or inspect."""
    return task.operation.name.partition("_")[2]


async def _call(engine: Engine, task: Task, raw: Raw, start: StartRequest) -> None:
    container_id = str(raw["Id"])
    match verb_of(task):
        case "start":
            await answered(start.send(engine, container_id))
        case "stop":
            await engine.stop(container_id, _seconds(task, raw))
        case "restart":
            await engine.restart(container_id, _seconds(task, raw))
        case "delete":
            await engine.remove(container_id, force=_force(task))


async def _refused_start(engine: Engine, task: Task, raw: Raw, refusal: WritError) -> TaskResult:
    """Return the end of a start that was cancelled, and then refused by the engine: nothing of it runs any more."""
    judged, _ = await _after(engine, task, raw, refusal, time.monotonic() + CANCEL_SECONDS)
    if judged is not None and judged.verdict == "no_effect":
        return TaskResult(outcome="cancelled", code="cancelled", message=str(refusal))
    reason = _reason(judged) if judged is not None else "the engine no longer replies"
    return TaskResult(outcome="unknown", code="cancelled", message=f"{refusal}; {reason}", effect="maybe")


def _call_text(task: Task, raw: Raw) -> str:
    """Return the call as the engine's API reference writes it."""
    path = f"/containers/{raw['Id']}"
    match verb_of(task):
        case "start":
            return f"POST {path}/start"
        case "delete":
            return f"DELETE {path}?force={str(_force(task)).lower()}"
        case verb:
            return f"POST {path}/{verb}?t={_seconds(task, raw)}"


async def _observed_end(
    engine: Engine, task: Task, before: Mapping[str, Any], progress: Progress, until: float
) -> TaskResult:
    """Return the end of a change that the engine has made. A read that fails afterwards is repeated until `until`: no
    error of it makes the change a refusal.
    """
    while True:
        try:
            return await _end(engine, task, before, progress, until)
        except WritError as error:
            if error.code == "not_found":
                return _removed(task, before)
            if time.monotonic() + PAUSE > until:
                return _not_read(task, error)
            await asyncio.sleep(PAUSE)


def _removed(task: Task, before: Mapping[str, Any]) -> TaskResult:
    """Return the end of a container that the engine removes when it ends (`docker run --rm`)."""
    name, number = task.parameters["container_name"], before["container_id"]
    output = {"container_name": name, "container_id": number, "state": "removed"}
    if verb_of(task) == "stop":
        message = "it was stopped, and is removed"
        return TaskResult(outcome="succeeded", output=output, message=message, effect="done")
    message = "the engine started it; it is removed since"
    return TaskResult(outcome="failed", code="container_exited", message=message, output=output, effect="done")


def _not_read(task: Task, error: WritError) -> TaskResult:
    if verb_of(task) in ("start", "restart"):
        message = f"the engine started it; it is not known whether it stays up: {error}"
        return TaskResult(outcome="unknown", code=error.code, message=message, effect="maybe")
    message = f"it was carried out, but the result could not be read: {error}"
    return TaskResult(outcome="succeeded", message=message, effect="done")


async def _end(engine: Engine, task: Task, before: Mapping[str, Any], progress: Progress, until: float) -> TaskResult:
    """Return the end of a change that the engine has made."""
    match verb_of(task):
        case "delete":
            return await _gone(engine, task, before, until)
        case "stop":
            return _ended(await inspected(engine, before["container_id"], until))
    end = await settled(engine, before["container_id"], until, progress)
    if not end.code:
        return _ended(end.raw)
    output = {**container_view.state(end.raw), "log": await last_lines(engine, before["container_id"])}
    message = f"the engine started it; {end.message}"
    return replace(_ended(end.raw), outcome="failed", code=end.code, message=message, output=output)


async def _gone(engine: Engine, task: Task, before: Mapping[str, Any], until: float) -> TaskResult:
    """Wait until it is gone: the engine may still be removing it when it answers."""
    while (judged := await judge(engine, task, before)).verdict != "took_effect":
        if time.monotonic() > until:
            return TaskResult(outcome="unknown", code="not_confirmed", message=_reason(judged), effect="maybe")
        await asyncio.sleep(PAUSE)
    output = {"container_name": task.parameters["container_name"], "container_id": before["container_id"]}
    return TaskResult(outcome="succeeded", output={**output, "removed": True}, effect="done")


async def _after(engine: Engine, task: Task, raw: Raw, error: WritError, until: float) -> LastSeen[ProbeResult]:
    """Inspect the container after an error: as soon as possible if the engine has answered, else for as long as it may
    still carry out the request. Return the judgement, and whether it is certain.

    None if it could not be inspected: an engine that shuts down answers, and is away then. aiohttp sends a DELETE with
    a lost answer again; its answer is then 404.
    """
    before, seconds = container_view.baseline(raw), 0.0
    if error.code in LOST:
        seconds = _longest(task, raw)
        until = min(until, time.monotonic() + 2 * seconds)
    return await observe_late(lambda: judge(engine, task, before), _took_effect, seconds, until)


def _took_effect(judged: ProbeResult) -> bool:
    return judged.verdict == "took_effect"


def _not_done(task: Task, raw: Raw, judged: ProbeResult | None, error: WritError, is_certain: bool) -> TaskResult:
    """Return a failure if the container certainly shows no effect; or if the engine answered that it could not start
    again what it had stopped.
    """
    if judged is not None and judged.verdict == "no_effect" and is_certain:
        return TaskResult(outcome="failed", code=error.code, message=str(error), effect="none")
    if judged is not None and error.code not in LOST and verb_of(task) == "restart" and _is_stopped(raw, judged):
        message = f"{error}; it was stopped, and does not run now: start it once the engine can"
        return TaskResult(outcome="failed", code=error.code, message=message, effect="done")
    reason = _reason(judged) if judged is not None else "the engine no longer replies"
    return TaskResult(outcome="unknown", code=error.code, message=f"{error}; {reason}", effect="maybe")


def _is_stopped(raw: Raw, judged: ProbeResult) -> bool:
    """Return True if this container, and not another of its name, has exited."""
    observed = judged.observed
    return judged.verdict == "unknown" and (observed.get("container_id"), observed.get("state")) == (
        raw["Id"],
        "exited",
    )


def _ended(raw: Raw, effect: Effect = "done") -> TaskResult:
    return TaskResult(
        outcome="succeeded", output=container_view.state(raw), state=container_view.baseline(raw), effect=effect
    )


def _is_so(task: Task, raw: Raw) -> bool:
    """Return True if the container already is as requested."""
    runs = container_view.is_running(raw)
    return {"start": runs, "stop": not runs}.get(verb_of(task), False)


def _refuse_another(task: Task, raw: Raw) -> None:
    """Raise Conflict if it is not the container of the baseline, which policy's decision was about."""
    known = task.baseline.get("container_id")
    if known and known != raw.get("Id"):
        raise Conflict("since the decision, another container has taken the name", code="container_changed")


def _refuse_running(task: Task, raw: Raw) -> None:
    if verb_of(task) == "delete" and container_view.is_running(raw) and not _force(task):
        raise Conflict("it runs: stop it first, or give force", code="container_running")


def _force(task: Task) -> bool:
    return bool(task.parameters.get("force"))


def _seconds(task: Task, raw: Raw) -> int:
    """Return seconds from stop signal to SIGKILL: the container's own, cut so that the operation ends in its time."""
    return sent_seconds(raw, task.timeout)


def sent_seconds(raw: Raw, timeout: float) -> int:
    """Return the seconds that an operation of this timeout gives a container to stop."""
    return max(0, min(container_view.stop_seconds(raw), int(timeout * 0.8)))


def _longest(task: Task, raw: Raw) -> float:
    stops = verb_of(task) in ("stop", "restart")
    return CERTAIN_AFTER + (_seconds(task, raw) if stops else 0)


def _reason(judged: ProbeResult) -> str:
    return str(judged.observed.get("reason", ""))
