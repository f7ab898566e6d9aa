"""One operation under way: its changes are sent once, followed to their end, and stopped on request.

A change sent without a reply is searched for in the task list, among the new tasks of this type, guest and token. No
clock of another host is compared with ours.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, cast

from msgspec.structs import replace

from writ_agent.backends.port import Effect, Progress, Task, TaskResult
from writ_agent_proxmox.connection.api import Api
from writ_agent_proxmox.connection.replies import lock_in
from writ_agent_proxmox.tasks.guests import Guest, all_guests, find_guest
from writ_agent_proxmox.tasks.task_call import TaskCall
from writ_agent_proxmox.tasks.task_notes import Note, Notes
from writ_agent_proxmox.tasks.upid import TaskEnd, Upid, end_of, parse_upid, percent_of
from writ_contracts.errors import Conflict, Invalid, TimedOut, Untrusted, WritError
from writ_runtime.faults import fault

LOCK_SECONDS = 30.0
"""How long a locked guest is waited for: locks outlive their task by seconds."""
SEARCH_SECONDS = 10.0
UNKNOWN_TASK_SECONDS = 10.0
"""For which a new task may be unknown to the node that runs it (bpg/terraform-provider-proxmox#521)."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
LOG_EVERY = 5.0
LOG_LINES, LOG_PAGE, MOST_PAGES = 40, 500, 100
STOP_SECONDS = 1.5
ABANDON_SECONDS = 0.5
"""For the last words on a task that a stop does not end."""
NOTHING_DONE = "OK"
"""The reply of vzdump for a guest that has moved to another node (PVE::API2::VZDump)."""


class OperationEnded(Exception):
    """The operation is over before its last step; `done` says how."""

    def __init__(self, done: TaskResult) -> None:
        super().__init__(done.message)
        self.done = done


class GuestWork:
    """`task` on the API of its target."""

    def __init__(self, api: Api, notes: Notes, task: Task, progress: Progress) -> None:
        self.api, self.task = api, task
        self.steps, self.warnings, self.upids = 0, 0, list[str]()
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self._notes, self._progress = notes, progress
        self.completed = False
        """The last change was carried out."""
        self.is_managed = False
        """The manager for high availability has the request, and carries it out when it can."""
        self._stopping, self._over = asyncio.Event(), asyncio.Event()
        self._abandoned = False
        self._until = time.monotonic() + task.timeout
        self._refused_since: float | None = None
        self._waited, self._unread = False, ""
        """Why the present state of the task is not known; empty where it is."""

    @property
    def name(self) -> str:
        parameters = self.task.parameters
        return str(parameters.get("guest_name") or parameters["container_name"])

    async def guest(self, name: str) -> Guest:
        """Return the guest with this name, on any node. Raises Invalid (`not_found`, `other_spelling`), and Conflict
        (`guest_changed`) if it is not the guest of the baseline, which policy's decision was about.
        """
        guest = find_guest(await all_guests(self.api), name)
        if self.task.baseline.get("guest", guest.id) != guest.id:
            raise Conflict(f"since the decision, guest {guest.id} has taken the name {name}", code="guest_changed")
        return guest

    async def found_again(self, guest: Guest) -> Guest:
        """Return the guest on its present node; as it was where that cannot be read, and the manager for high
        availability has the request. Raises Invalid (`not_found`).
        """
        try:
            guests = await all_guests(self.api)
        except WritError as error:
            if error.retry and self.is_managed:
                return guest
            raise
        for one in guests:
            if one.id == guest.id:
                return one
        raise Invalid(f"guest {guest.name} ({guest.id}) is no longer on this target", code="not_found")

    async def current(self, guest: Guest) -> Mapping[str, Any]:
        """Return its status as its node has it now. Raises Unreachable (`node_offline`)."""
        return cast("Mapping[str, Any]", await self.api.get(*guest.path, "status", "current"))

    async def do(self, change: TaskCall) -> TaskEnd:
        """Send it and follow its task; a lock is waited for within a bound. Raises Ended unless it succeeded, and
        WritError where nothing of it happened.
        """
        until = time.monotonic() + min(LOCK_SECONDS, self.task.timeout / 2)
        pause, self.is_managed = FIRST_PAUSE, False
        while True:
            self.check_stopped()
            try:
                end = await self._once(change)
                lock = lock_in(end.text) if end.kind == "failed" else None
            except Conflict as error:
                if error.code != "guest_locked" or time.monotonic() > until:
                    raise
                lock, end = "", TaskEnd("failed")
            if lock is None or time.monotonic() > until:
                end = self._judged(end, lock)
                self.completed = change.last and not self.is_managed
                return end
            self._progress(f"waits for the lock of guest {change.id}" + (f" ({lock})" if lock else ""))
            self._waited = True
            await self.pause(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def pause(self, seconds: float) -> None:
        """Wait for this time, or until the operation is stopped. Raises nothing."""
        if self._stopping.is_set():
            return await asyncio.sleep(min(seconds, 0.2))
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return None

    @property
    def is_late(self) -> bool:
        """Return true once the operation's time is over: nobody waits for its task any more."""
        return time.monotonic() > self._until

    async def stop(self, grace: float) -> bool:
        """Stop the task on its node. Return whether its end is confirmed. A task that a cancel does not end is followed
        on, until the operation's time is over.
        """
        self._stopping.set()
        if await self._ended(grace + STOP_SECONDS):
            return True
        if self.is_late:
            self._abandoned = True
            await self._ended(ABANDON_SECONDS)
        return self.task.operation.read_only

    async def _ended(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            return False
        return True

    def finish(self) -> None:
        """Mark its end: nothing of it goes on any more."""
        self._over.set()

    async def follow(self, upid: Upid, seconds: float | None = None) -> TaskEnd:
        """Return a task's end; `unknown` if it does not end within these seconds."""
        began, pause, start, read_at, killed = time.monotonic(), FIRST_PAUSE, 0, time.monotonic(), False
        while True:
            status = await self._status(upid)
            if isinstance(status, TaskEnd):
                if status.kind != "ok" or start:
                    await self._read_log(upid, start)
                return status
            if self._stopping.is_set() and not killed:
                killed = await self._kill(upid)
            if self._abandoned or (seconds is not None and time.monotonic() - began > seconds):
                return TaskEnd("unknown", self._unread or "it still runs")
            if time.monotonic() - read_at > LOG_EVERY:
                start, read_at = await self._read_log(upid, start), time.monotonic()
            await self.pause(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def search(self, note: Note, seconds: float) -> Upid | None:
        """Return the task started by a change without a reply; None unless exactly one is found in time."""
        until, pause = time.monotonic() + seconds, FIRST_PAUSE
        while True:
            try:
                new = [upid for upid in await self._tasks(note) if upid.text not in note.known]
            except WritError:  # the change may have been carried out: no error of a read makes that a refusal
                new = []
            if new:
                return new[0] if len(new) == 1 else None
            if time.monotonic() > until:
                return None
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _once(self, change: TaskCall) -> TaskEnd:
        note = Note(node=change.node, type=",".join(change.type), id=change.id, last=change.last)
        note = replace(note, known=[upid.text for upid in await self._tasks(note)])
        await asyncio.to_thread(self._notes.write, self.task.operation_id, note)
        fault("proxmox.noted")
        try:
            self.check_stopped()
            reply = await self.api.change(change.method, *change.path, **change.parameters)
            fault("proxmox.sent")
        except TimedOut as error:
            return await self._found(note, error)
        if reply is None and change.at_once:
            self._accepted(note)
            return TaskEnd("ok")
        if reply == NOTHING_DONE:
            raise Conflict(f"the guest {change.id} is no longer on node {change.node}", code="guest_moved")
        if (upid := parse_upid(reply)) is None:
            return await self._found(note, TimedOut("the reply names no task", code="garbled"))
        return await self._followed(note, upid)

    async def _found(self, note: Note, error: TimedOut) -> TaskEnd:
        upid = await self.search(note, SEARCH_SECONDS)
        if upid is None:
            raise OperationEnded(self._unknown(f"no reply, and no task of it is to be found: {error}", "no_reply"))
        return await self._followed(note, upid)

    def _accepted(self, note: Note) -> None:
        if self._waited:
            self._waited = False
            self._progress(f"guest {note.id} accepts the change")

    async def _followed(self, note: Note, upid: Upid) -> TaskEnd:
        self._accepted(note)
        self.upids.append(upid.text)
        self.is_managed = upid.is_request
        await asyncio.to_thread(self._notes.write, self.task.operation_id, replace(note, upid=upid.text))
        fault("proxmox.followed")
        return await self.follow(upid)

    async def _tasks(self, note: Note) -> list[Upid]:
        """Return the tasks of this type and id started by our token, newest first."""
        parameters = {"vmid": int(note.id)} if note.id.isdigit() else {}
        rows = await self.api.get("nodes", note.node, "tasks", source="all", limit=50, **parameters)
        found = (parse_upid(row.get("upid")) for row in rows)
        types, ours = note.type.split(","), (self.api.token.id, self.api.token.user)
        return [one for one in found if one and one.type in types and one.id == note.id and one.user in ours]

    async def _status(self, upid: Upid) -> TaskEnd | None:
        """Return the end of a task; None while it runs, or while the node cannot be queried. Raises nothing: the task
        began.
        """
        try:
            status = await self.api.get("nodes", upid.node, "tasks", upid.text, "status")
        except Untrusted as error:
            return TaskEnd("unknown", f"its task can no longer be followed: {error}")
        except WritError as error:
            self._unread = f"its node does not report the task: {error}"
            self._progress(self._worded(f"waits for node {upid.node}, which does not report the task: {error}"))
            return self._refused(error)
        if self._unread:
            self._progress(f"{upid.type} goes on")
        self._refused_since, self._unread = None, ""
        return end_of(status.get("exitstatus")) if status.get("status") == "stopped" else None

    def _refused(self, error: WritError) -> TaskEnd | None:
        """Stop following once the node has refused to report the task for a while. An absent node may come back, and
        no token is accepted while the file system of the cluster restarts.
        """
        if error.retry and error.code != "no_such_task":
            self._refused_since = None
            return None
        now = time.monotonic()
        since = self._refused_since = now if self._refused_since is None else self._refused_since
        return TaskEnd("unknown", self._unread) if now - since > UNKNOWN_TASK_SECONDS else None

    async def _read_log(self, upid: Upid, start: int) -> int:
        """Read on in the log, report the percentage, and return the next line's number."""
        for _ in range(MOST_PAGES):
            try:
                rows = await self.api.get("nodes", upid.node, "tasks", upid.text, "log", start=start, limit=LOG_PAGE)
            except WritError:  # the log is read for people; the outcome does not depend on it
                break
            self.log.extend(str(row.get("t", ""))[:1000] for row in rows)
            start += len(rows)
            if len(rows) < LOG_PAGE or self._stopping.is_set():  # the stop is urgent
                break
        if (percent := percent_of(list(self.log))) is not None:
            self._progress(f"{upid.type}: {percent} %")
        return start

    async def _kill(self, upid: Upid) -> bool:
        try:
            await self.api.change("delete", "nodes", upid.node, "tasks", upid.text)
        except WritError:  # tried again, until the task has ended by itself
            return False
        return True

    @property
    def has_started(self) -> bool:
        """Return true if the last change was a start, whose task has ended well."""
        upid = parse_upid(self.upids[-1]) if self.completed and self.upids else None
        return upid is not None and upid.type in ("qmstart", "vzstart")

    def check_stopped(self, message: str = "it was stopped") -> None:
        """Raises OperationEnded where the operation is to stop."""
        if self._stopping.is_set():
            if self.is_managed:
                text = f"the manager for high availability has the request; {message}"
                raise OperationEnded(replace(self._unknown("", "cancelled"), message=text))
            effect: Effect = "maybe" if self.steps else "none"
            raise OperationEnded(
                TaskResult(outcome="cancelled", code="cancelled", message=message, effect=effect, state=self.state())
            )

    def _judged(self, end: TaskEnd, lock: str | None) -> TaskEnd:
        """Count a success. Raises Ended for anything else."""
        if end.kind in ("ok", "warnings"):
            self.steps, self.warnings = self.steps + 1, self.warnings + end.warnings
            return end
        if end.kind == "unknown":
            code = "cancelled" if self._stopping.is_set() else "task_unknown"
            raise OperationEnded(self._unknown(f"the end of its task is not known: {end.text or 'no status'}", code))
        if self._stopping.is_set():
            raise OperationEnded(
                TaskResult(outcome="cancelled", code="cancelled", message=self._worded(end.text), effect="maybe")
            )
        raise OperationEnded(
            TaskResult(
                outcome="failed",
                code="guest_locked" if lock else "task_failed",
                message=self._worded(f"the guest is locked ({lock}): {end.text}" if lock else end.text),
                effect="none" if lock and not self.steps else "maybe",
                state=self.state(),
            )
        )

    def state(self) -> dict[str, Any]:
        """Return the public facts about the tasks."""
        return {"tasks": self.upids, "warnings": self.warnings}

    def _unknown(self, text: str, code: str) -> TaskResult:
        advice = f"task_log shows it: upid={self.upids[-1]}" if self.upids else "look at the guest's tasks in Proxmox"
        message = f"{self._worded(text)}; {advice}"
        return TaskResult(outcome="unknown", code=code, message=message, effect="maybe", over=False, state=self.state())

    def _worded(self, text: str) -> str:
        return " ".join(text.replace(self.api.token.secret, "<secret>").split())[:500]
