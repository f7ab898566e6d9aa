"""The backend `proxmox`: operations on guests and nodes of Proxmox VE. Nothing runs on this host.

After a kill, the next agent finds the note, and queries the node for the task.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from writ_agent.backends.connection_retries import retried, retry_seconds
from writ_agent.backends.hostops_requests import LISTING_SECONDS
from writ_agent.backends.port import ProbeResult, Progress, TargetTestResult, Task, TaskResult, cannot_list, lacks
from writ_agent.backends.silence_watch import TargetPings
from writ_agent.backends.target_health import TargetHealth
from writ_agent_proxmox.connection.api import Apis
from writ_agent_proxmox.connection.replies import NO_RIGHTS
from writ_agent_proxmox.listings import LISTINGS
from writ_agent_proxmox.operations.actions import Actions
from writ_agent_proxmox.operations.table import OPERATIONS
from writ_agent_proxmox.settings import connection_of
from writ_agent_proxmox.target_test import tested
from writ_agent_proxmox.tasks.task_notes import Notes
from writ_agent_proxmox.tasks.upid import TaskEnd, Upid, parse_upid
from writ_agent_proxmox.tasks.work import GuestWork, OperationEnded
from writ_contracts.backends import PROXMOX
from writ_contracts.errors import Conflict, Invalid, WritError
from writ_contracts.inventory import Target

Result = TypeVar("Result")
SETTLE_SECONDS = 3.0
LOG_CHARACTERS = 16_000
_NOT_WELL = frozenset({"auth_failed", "certificate_changed", "no_credentials", NO_RIGHTS})


class ProxmoxBackend:
    """Operations over the API of each target."""

    name = PROXMOX

    def __init__(self, apis: Apis, notes: Notes) -> None:
        self.operations = frozenset(OPERATIONS)
        self.target_health = TargetHealth()
        self._apis, self._notes = apis, notes
        self._works: dict[str, GuestWork] = {}

    async def run(self, task: Task, progress: Progress) -> TaskResult:
        """Carry it out. Raises WritError for a refusal before any effect."""
        actions, work = _actions(task), self._work(task, progress)
        self._works[task.operation_id] = work
        watch = TargetPings(task, progress)
        try:
            with watch.running(work.api.is_silent):
                done = await self._run(actions, work)
            await asyncio.to_thread(self._notes.remove, task.operation_id)
            return done
        finally:
            work.finish()
            self._works.pop(task.operation_id, None)

    async def stop(self, operation_id: str, grace: float) -> bool:
        work = self._works.get(operation_id)
        return work is None or await work.stop(grace)

    async def settle(self, task: Task) -> TaskResult:
        """Query the node for the task's end: a task goes on without its agent."""
        note = await asyncio.to_thread(self._notes.read, task.operation_id)
        if note is None:
            code, message = "agent_restarted", "the agent ended before anything was sent"
            # Executors have what may be repeated, and has no outcome, done again.
            return TaskResult(outcome="unknown" if task.operation.idempotent else "failed", code=code, message=message)
        work = self._work(task, _silent)
        upid = parse_upid(note.upid) or await work.search(note, SETTLE_SECONDS)
        if upid is None:
            return _unsettled("the agent ended while it sent the request, and it cannot be found as a task", over=False)
        end = await work.follow(upid, SETTLE_SECONDS)
        done = _settled(end, upid, last=note.last)
        if done.over:
            await asyncio.to_thread(self._notes.remove, task.operation_id)
        return done

    async def baseline(self, task: Task) -> dict[str, Any]:
        read = _actions(task).baseline
        if read is None:
            raise lacks(task, "baseline")
        return await _read(task.target, task.timeout, lambda: read(self._work(task, _silent)))

    async def preview(self, task: Task) -> dict[str, Any]:
        read = _actions(task).preview
        if read is None:
            raise lacks(task, "preview")
        return await _read(task.target, task.timeout, lambda: read(self._work(task, _silent)))

    async def probe(self, task: Task, baseline: Mapping[str, Any]) -> ProbeResult:
        read = _actions(task).probe
        if read is None:
            raise lacks(task, "probe")
        return await _read(task.target, task.timeout, lambda: read(self._work(task, _silent), baseline))

    async def listing(self, target: Target, source: str) -> list[str]:
        if source not in LISTINGS:
            raise cannot_list(source)
        return await _read(target, LISTING_SECONDS, lambda: LISTINGS[source](self._apis.of(target), target))

    async def test_target(self, target: Target) -> TargetTestResult:
        found = await tested(self._apis, target, OPERATIONS)
        self.target_health.record(target.id, found.code)
        return found

    async def check(self) -> str | None:
        """Report the backend as ready: it needs nothing of its own host."""
        return None

    async def _run(self, actions: Actions, work: GuestWork) -> TaskResult:
        task = work.task
        try:
            output = await _read(task.target, _retry_seconds(task), lambda: _followed(actions, work))
        except OperationEnded as ended:
            self.target_health.record(task.target.id, "")
            return ended.done
        except WritError as error:
            self.target_health.record(task.target.id, error.code if error.retry or error.code in _NOT_WELL else "")
            if not work.steps:
                raise
            if work.completed:
                message = f"it was carried out, but the result could not be read: {error}"[:500]
                return TaskResult(outcome="succeeded", state=work.state(), message=message, effect="done")
            if work.is_managed:
                message = f"the manager for high availability has the request; then: {error}"[:500]
                return TaskResult(
                    outcome="unknown", code=error.code, message=message, effect="maybe", state=work.state()
                )
            message = f"a first step was carried out, then: {error}"[:500]
            return TaskResult(outcome="failed", code=error.code, message=message, effect="maybe", state=work.state())
        self.target_health.record(task.target.id, "")
        if "log" in task.operation.output.__struct_fields__:
            output.setdefault("log", "\n".join(work.log)[-LOG_CHARACTERS:])
        message = f"its task ended with {work.warnings} warnings" if work.warnings else ""
        state = {} if task.operation.read_only else work.state()
        return TaskResult(
            outcome="succeeded", output=output, state=state, message=message, effect="done" if work.steps else "none"
        )

    def _work(self, task: Task, progress: Progress) -> GuestWork:
        return GuestWork(self._apis.of(task.target), self._notes, task, progress)


async def _read(target: Target, seconds: float, read: Callable[[], Awaitable[Result]]) -> Result:
    """Read on the target. A node out of reach is tried again for up to `seconds`: a read changes nothing."""
    return await retried(read, connection_of(target).connect_retries, seconds)


def _retry_seconds(task: Task) -> float:
    connection = connection_of(task.target)
    return retry_seconds(task, connection.connect_retries, connection.connect_timeout)


def _actions(task: Task) -> Actions:
    """Return the functions of the operation. Raises Invalid (`unsupported`)."""
    try:
        return OPERATIONS[task.operation.name]
    except KeyError:
        raise Invalid(f"agents of backend proxmox have no {task.operation.name}", code="unsupported") from None


async def _followed(actions: Actions, work: GuestWork) -> dict[str, Any]:
    """Run it; once more where the guest has moved to another node before anything was done."""
    try:
        return await actions.run(work)
    except Conflict as error:
        if error.code != "guest_moved" or work.steps:
            raise
    return await actions.run(work)


def _settled(end: TaskEnd, upid: Upid, *, last: bool) -> TaskResult:
    """Return the outcome of a task whose agent was killed."""
    state = {"tasks": [upid.text], "warnings": end.warnings}
    if end.kind in ("ok", "warnings") and upid.is_request:
        return _unsettled("the manager for high availability has the request", over=True)
    if end.kind in ("ok", "warnings") and last:
        return TaskResult(outcome="succeeded", effect="done", state=state)
    if end.kind == "failed":
        return TaskResult(outcome="failed", code="task_failed", message=end.text[:500], effect="maybe", state=state)
    over = end.kind in ("ok", "warnings")
    return _unsettled(
        "the agent ended between two steps" if over else f"its task: {end.text or 'no status'}", over=over
    )


def _unsettled(message: str, *, over: bool) -> TaskResult:
    return TaskResult(outcome="unknown", code="agent_restarted", message=message[:500], effect="maybe", over=over)


def _silent(message: str) -> None:
    """Discard progress: nobody waits for that of a read."""
