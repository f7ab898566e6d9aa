"""The backend `ssh`: operations on other hosts, by a hostops kept open on each. Nothing ever runs on the agent's host.

If a connection breaks during an operation, the host itself reports the operation's fate (`settlement.py`).
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from msgspec.structs import replace

from writ_agent.backends.connection_retries import retry_seconds
from writ_agent.backends.hostops_backend import HostopsBackend
from writ_agent.backends.hostops_requests import (
    done_of,
    read_result,
    reading_request,
    request,
    secrets_of,
    space_of,
    survey_request,
)
from writ_agent.backends.operation_threads import uncounted
from writ_agent.backends.port import ProbeResult, Progress, TargetTestResult, Task, TaskResult
from writ_agent.backends.turn_waits import TurnWait
from writ_agent_ssh.host_sessions.channel import ConnectionDropped
from writ_agent_ssh.host_sessions.pool import Pool
from writ_agent_ssh.host_sessions.session import HostSession
from writ_agent_ssh.host_sessions.settlement import Settlement
from writ_agent_ssh.host_sessions.silence_notices import SilenceNotices
from writ_agent_ssh.settings import connection_of
from writ_agent_ssh.target_test import tested
from writ_bus import tasks
from writ_contracts.backends import SSH
from writ_contracts.errors import WritError
from writ_contracts.inventory import Target
from writ_runtime.faults import fault

STOP_SECONDS = 1.5
"""Seconds beyond the grace for the host to confirm an end. With a grace of 3 s the outcome comes within 5 s of the
timeout, before executors call the operation overdue.
"""


class _RunningOperation:
    def __init__(self, task: Task) -> None:
        self.task = task
        self.turn_wait = TurnWait()
        self.stopping = False
        self.connecting: asyncio.Task[HostSession] | None = None
        self.session: HostSession | None = None
        self.tag = 0
        self.settlement: Settlement | None = None


class SshBackend(HostopsBackend):
    """`operations`: those of the hostops that is sent to hosts."""

    name = SSH

    def __init__(self, pool: Pool, operations: Collection[str]) -> None:
        self.operations = frozenset(operations)
        self._pool = pool
        self.target_health = pool.target_health
        self._runs: dict[str, _RunningOperation] = {}

    async def run(self, task: Task, progress: Progress) -> TaskResult:
        """Run on the host. For a change there is one attempt to reach it, for a read as many as its connection says.

        Raises WritError for a failure before the begin.
        """
        run = self._runs[task.operation_id] = _RunningOperation(task)
        until = time.monotonic() + task.timeout
        notices = SilenceNotices(task, progress)
        try:
            with notices.connecting(progress, lambda: self._pool.is_queued(task.target)):
                session = await self._connected(run)
            if session is None:
                return TaskResult(outcome="cancelled", code="cancelled", message="it was cancelled before it began")
            fault("ssh.connected")
            message = request("run", task, self.declared(task.target))
            try:
                with notices.running(session.is_silent):
                    reply = await session.run_request(
                        message, progress, secrets_of(task), lambda tag: _begun(run, session, tag)
                    )
            except WritError as error:
                if not run.tag:
                    raise
                with notices.settling() as replied:
                    return await self._broken(run, session, error, until, replied)
            return done_of(task, reply, over=bool(reply.get("certain", True)))
        finally:
            if self._runs.get(task.operation_id) is run:
                del self._runs[task.operation_id]

    def queued_seconds(self, operation_id: str) -> float:
        """Return for how long the operation has waited its turn to connect."""
        run = self._runs.get(operation_id)
        return 0.0 if run is None else run.turn_wait.seconds

    async def stop(self, operation_id: str, grace: float) -> bool:
        run = self._runs.get(operation_id)
        if run is None:
            return True
        run.stopping = True
        if run.connecting is not None and not run.connecting.done():
            run.connecting.cancel()
            return True
        try:
            async with asyncio.timeout(grace + STOP_SECONDS):
                return await self._end(run, grace)
        except TimeoutError:
            self._pool.drop(run.task.target)  # it hangs; the next one gets a connection of its own
            return run.task.operation.read_only  # a read ends with its connection

    async def settle(self, task: Task) -> TaskResult:
        """Settle as in Leftovers. The host ended reads itself when the connection broke."""
        if task.operation.read_only:
            return TaskResult(outcome="unknown", code="agent_restarted", message="the agent ended while it ran")
        done = await Settlement(self._pool, task).outcome_now()
        never = done.outcome == "failed" and done.code == "connection_lost"
        # Executors have what may be repeated, and has no outcome, done again.
        return replace(done, outcome="unknown") if never and task.operation.idempotent else done

    async def read_text(self, target: Target, folder: str, path: str, largest: int) -> tuple[str, str]:
        """Return the text and the version of a file in this folder of the host. Raises WritError."""
        message = reading_request(folder, path, largest)
        found = read_result("file", await self.read_host(target, message, (), patience=0.0))
        return str(found.output.get("content", "")), str(found.state.get("version", ""))

    async def disk_space(self, target: Target, folder: str) -> tuple[int, int] | None:
        """Return free and total bytes of a folder's file system; None where unknown. Raises WritError."""
        message = survey_request(self.declared(target), folder)
        return space_of(await self.read_host(target, message, (), patience=0.0))

    async def test_target(self, target: Target) -> TargetTestResult:
        found = await tested(self._pool, target, self.operations)
        if found.code:
            self.target_health.record(target.id, found.code)
        return found

    async def check(self) -> str | None:
        """Report ready always; the health of targets is a check of its own."""
        return None

    async def close(self) -> None:
        await self._pool.close()

    async def _connected(self, run: _RunningOperation) -> HostSession | None:
        """Return the session; None if the operation was stopped meanwhile."""
        task, connection = run.task, connection_of(run.task.target)
        patience = retry_seconds(task, connection.connect_retries, connection.connect_timeout)
        session = self._pool.session(task.target, task.operation.name, patience=patience, wait=run.turn_wait)
        # Nothing ends the resolution of a name, which takes long without a name server.
        run.connecting = tasks.start(uncounted(session), "ssh connect")
        run.connecting.add_done_callback(lambda _: session.close())  # a stop before its first step leaves it unawaited
        try:
            return await run.connecting
        except asyncio.CancelledError:
            if run.stopping and run.connecting.cancelled():
                return None
            run.connecting.cancel()
            raise

    async def _broken(
        self,
        run: _RunningOperation,
        session: HostSession,
        error: WritError,
        until: float,
        replied: Callable[[], None],
    ) -> TaskResult:
        """Settle an operation whose connection ended before the answer. `replied`: called when the host replies."""
        if run.task.operation.read_only:
            if run.stopping:
                return TaskResult(
                    outcome="cancelled", code="cancelled", message="the host no longer replied", over=True
                )
            return TaskResult(outcome="failed", code=error.code, message=str(error), over=True)
        run.settlement = Settlement(self._pool, run.task, session.boot_id, end=run.stopping)
        return await run.settlement.wait(until, lambda: self._probe_now(run.task), replied)

    async def _probe_now(self, task: Task) -> ProbeResult | None:
        """Probe the effect if the baseline makes it conclusive; else None."""
        return await self.probe(task, task.baseline) if task.operation.probe else None

    async def _end(self, run: _RunningOperation, grace: float) -> bool:
        if run.settlement is None and run.session is not None:
            try:
                return await run.session.stop(run.tag, grace)
            except ConnectionDropped:
                await asyncio.sleep(0)  # its run learns of it as well, and begins to settle
        return await run.settlement.end(grace) if run.settlement is not None else False

    async def read_host(
        self, target: Target, message: Mapping[str, Any], secrets: Collection[str], patience: float
    ) -> dict[str, Any]:
        """Read the host. An unreachable one is tried again for up to `patience` seconds: nothing is claimed yet."""
        session = await self._pool.session(target, str(message["operation"]), patience=patience)
        return await session.run_request(message, _silent, secrets, lambda _: None)


def _begun(run: _RunningOperation, session: HostSession, tag: int) -> None:
    run.session, run.tag = session, tag
    fault("ssh.asked")


def _silent(message: str) -> None:
    """Discard progress: nobody waits for the progress of a read."""
