"""The backend `local`: operations on the agent's own host, by hostops, each in a process of its own.

hostops' report becomes the agent's. If it ends without one, its effect is unknown.
"""

import asyncio
import os
import pwd
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from writ_agent.backends.hostops_backend import HostopsBackend
from writ_agent.backends.hostops_requests import (
    allowed,
    done_of,
    request,
    secrets_of,
    survey_request,
    surveyed,
)
from writ_agent.backends.port import Progress, TargetTestResult, Task, TaskResult
from writ_agent.backends.processes import end
from writ_agent.backends.target_health import TargetHealth
from writ_agent.own_files import spellings
from writ_agent_local.child import HostChild
from writ_bus import tasks
from writ_contracts.backends import LOCAL
from writ_contracts.errors import Unreachable, WritError
from writ_contracts.inventory import Target
from writ_contracts.target_tests import TargetTestStep
from writ_hostops.operations import HANDLERS

LEFT_BEHIND_SECONDS = 2.0
"""Seconds from SIGTERM to SIGKILL for the processes that a killed hostops left behind."""
TRIAL_SECONDS = 60.0
"""Seconds after which a hostops that was started for a check, and does not answer, is ended."""


class LocalBackend(HostopsBackend):
    """`forbidden`: files and folders that no operation may touch. `markers`: the folder of hostops' marks."""

    name = LOCAL

    def __init__(self, forbidden: Iterable[Path], markers: Path) -> None:
        self.operations = frozenset(HANDLERS)
        self._forbidden = spellings(forbidden)
        self._markers = str(markers.absolute())
        self._children: dict[str, asyncio.Task[HostChild]] = {}
        self.target_health = TargetHealth()
        self._sound: str | None = "not tried yet"
        self._trial: asyncio.Task[str | None] | None = None

    async def run(self, task: Task, progress: Progress) -> TaskResult:
        """Run in a child process, which `stop` ends with all its descendants."""
        starting = self._children[task.operation_id] = tasks.start(HostChild.start(task.operation_id), "hostops")
        try:
            child = await starting
            message = request("run", task, self.declared(task.target))
            reply = await child.run_request(message, progress, secrets_of(task))
            # A killed hostops leaves its child processes behind, which nothing watches any more.
            return done_of(task, reply, reply is not None or await end(task.operation_id, LEFT_BEHIND_SECONDS))
        except OSError as error:
            return TaskResult(
                outcome="failed", code="unavailable", message=f"no process could be started: {error.strerror}"
            )
        finally:
            if self._children.get(task.operation_id) is starting:
                del self._children[task.operation_id]

    async def stop(self, operation_id: str, grace: float) -> bool:
        starting = self._children.get(operation_id)
        if starting is None:
            return True
        try:
            child = await asyncio.shield(starting)
        except OSError:
            return True
        return await child.stop(grace)

    async def test_target(self, target: Target) -> TargetTestResult:
        here = [
            TargetTestStep(name="connection", well=True, detail=f"on {os.uname().nodename} itself"),
            TargetTestStep(name="credentials", well=True, detail=f"as {_user()}"),
        ]
        try:
            reply = await _survey(survey_request(self.declared(target)), ())
            found = surveyed(reply, self.operations, here)
        except WritError as error:
            step = TargetTestStep(name="host", well=False, detail=str(error))
            found = TargetTestResult(steps=[*here, step], code=error.code, message=str(error))
        self.target_health.record(target.id, found.code)
        return found

    async def check(self) -> str | None:
        """Check that hostops starts and ends on this host. One success is remembered.

        A trial outlives a caller that gave up: where Python starts slowly, each caller does, and a later one has its
        result.
        """
        if self._sound is not None:
            trial = self._trial = self._trial or tasks.start(_try_hostops(), "hostops check")
            try:
                self._sound = await asyncio.shield(trial)
            finally:
                if trial.done():
                    self._trial = None
        return self._sound

    async def read_host(
        self, target: Target, message: Mapping[str, Any], secrets: Collection[str], patience: float
    ) -> Mapping[str, Any] | None:
        return await _survey(message, secrets)

    def declared(self, target: Target) -> dict[str, Any]:
        return allowed(target, self._forbidden, self._markers)


async def _survey(message: Mapping[str, Any], secrets: Collection[str]) -> dict[str, Any] | None:
    """Return hostops' answer from a child of its own. Raises Unreachable."""
    try:
        child = await HostChild.start(f"{message['id']}-{message['action']}")
    except OSError as error:
        raise Unreachable(f"no process could be started: {error.strerror}") from error
    try:
        return await child.run_request(message, _silent, secrets)
    except asyncio.CancelledError:
        await child.stop(0.0)
        raise


async def _try_hostops() -> str | None:
    try:
        # A mark of its own: `stop` ends all processes with it, and other agents of this host make checks too.
        reply = await _checked(await HostChild.start(f"check-{os.urandom(8).hex()}"))
    except OSError as error:
        return f"no process could be started: {error.strerror}"
    return None if reply and reply.get("code") == "unsupported" else "hostops does not answer"


async def _checked(child: HostChild) -> dict[str, Any] | None:
    try:
        async with asyncio.timeout(TRIAL_SECONDS):
            return await child.run_request({"id": "check", "action": "run", "operation": "none"}, _silent)
    except TimeoutError:
        await child.stop(0.0)
        return None


def _user() -> str:
    """Return the user whose rights it has; by number if the host has no name for it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _silent(message: str) -> None:
    """Discard progress: nobody waits for the progress of a read."""
