"""The backend `ssh`: operations on other hosts, by a hostops that is kept open on each. Nothing ever runs here.

When a connection breaks in the middle, the host itself says what became of the operation (`settlement.py`).
"""

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Any

from msgspec.structs import replace

from writ_agent.backends.hostops_requests import (
    Action,
    Result,
    allowed,
    done_of,
    listing_request,
    probed_of,
    request,
    secrets_of,
    seen_of,
)
from writ_agent.backends.port import Done, Probed, Progress, TargetTestResult, Task, cannot_list
from writ_agent_ssh.channel import ConnectionDropped
from writ_agent_ssh.pool import Pool
from writ_agent_ssh.session import HostSession
from writ_agent_ssh.settlement import Settlement
from writ_agent_ssh.target_test import find
from writ_contracts.errors import WritError
from writ_contracts.inventory import Target
from writ_hostops.operations import LISTINGS
from writ_runtime.faults import fault

STOP_SECONDS = 1.5
"""Beyond the grace, for the host to answer that something has ended: with a grace of 3 s there is an outcome within 5 s
of the timeout, which is when executors call an operation overdue."""


class _RunningOperation:
    """One operation under way."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.stopping = False
        self.connecting: asyncio.Task[HostSession] | None = None
        self.session: HostSession | None = None
        self.tag = 0
        self.settlement: Settlement | None = None


class SshBackend:
    """`operations`: what the hostops that is sent to hosts has."""

    name = "ssh"

    def __init__(self, pool: Pool, operations: Collection[str]) -> None:
        self.operations = frozenset(operations)
        self._pool = pool
        self.target_health = pool.target_health
        self._runs: dict[str, _RunningOperation] = {}

    async def run(self, task: Task, progress: Progress) -> Done:
        """On the host, after one try to reach it. Raises WritError for what kept it from being begun."""
        run = self._runs[task.operation_id] = _RunningOperation(task)
        until = time.monotonic() + task.timeout
        try:
            session = await self._connected(run)
            if session is None:
                return Done(outcome="cancelled", code="cancelled", message="it was stopped before it was begun")
            fault("ssh.connected")
            message = request("run", task, allowed(task.target))
            try:
                reply = await session.ask(message, progress, secrets_of(task), lambda tag: _begun(run, session, tag))
            except WritError as error:
                if not run.tag:
                    raise
                return await self._broken(run, session, error, until)
            return done_of(task, reply, over=bool(reply.get("certain", True)))
        finally:
            if self._runs.get(task.operation_id) is run:
                del self._runs[task.operation_id]

    async def stop(self, operation_id: str, grace: float) -> bool:
        """See Handler."""
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
            return run.task.operation.read_only  # what only looks is over when its connection is

    async def settle(self, task: Task) -> Done:
        """See Leftovers. What only looks was ended on the host when its connection was gone."""
        if task.operation.read_only:
            return Done(outcome="unknown", code="agent_restarted", message="the agent ended while it ran")
        done = await Settlement(self._pool, task).once()
        never = done.outcome == "failed" and done.code == "connection_lost"
        # Executors have what may be repeated, and has no outcome, done again.
        return replace(done, outcome="unknown") if never and task.operation.idempotent else done

    async def baseline(self, task: Task) -> dict[str, Any]:
        """See Baselines. Nothing is claimed yet: a host that cannot be reached is tried again."""
        return (await self._read("baseline", task)).state

    async def preview(self, task: Task) -> dict[str, Any]:
        """See Previews."""
        return (await self._read("preview", task)).output

    async def probe(self, task: Task, baseline: Mapping[str, Any]) -> Probed:
        """See Probes."""
        return probed_of(await self._read("probe", task, baseline))

    async def listing(self, target: Target, source: str) -> list[str]:
        """See Listings."""
        if source not in LISTINGS:
            raise cannot_list(source)
        message = listing_request(source, allowed(target))
        result = seen_of("listing", await self._ask(target, message, (), patience=message["timeout"]))
        return [str(name) for name in result.output.get("names", ())]

    async def test_target(self, target: Target) -> TargetTestResult:
        """See Visits."""
        found = await find(self._pool, target, self.operations)
        if found.code:
            self.target_health.record(target.id, found.code)
        return found

    async def check(self) -> str | None:
        """Always ready; how each target was found last is a check of its own."""
        return None

    async def close(self) -> None:
        """End all connections."""
        await self._pool.close()

    async def _connected(self, run: _RunningOperation) -> HostSession | None:
        """None where it was stopped meanwhile."""
        run.connecting = asyncio.create_task(self._pool.session(run.task.target))
        try:
            return await run.connecting
        except asyncio.CancelledError:
            if run.stopping and run.connecting.cancelled():
                return None
            run.connecting.cancel()
            raise

    async def _broken(self, run: _RunningOperation, session: HostSession, error: WritError, until: float) -> Done:
        """The connection ended before the answer came."""
        if run.task.operation.read_only:
            if run.stopping:
                return Done(
                    outcome="cancelled", code="cancelled", message="the host did not answer any more", over=True
                )
            return Done(outcome="failed", code=error.code, message=str(error), over=True)
        run.settlement = Settlement(self._pool, run.task, session.boot_id, end=run.stopping)
        return await run.settlement.wait(until, lambda: self._probe_now(run.task))

    async def _probe_now(self, task: Task) -> Probed | None:
        """Whether it took effect, where that can be told from what was seen before it."""
        return await self.probe(task, task.baseline) if task.operation.probe else None

    async def _end(self, run: _RunningOperation, grace: float) -> bool:
        if run.settlement is None and run.session is not None:
            try:
                return await run.session.stop(run.tag, grace)
            except ConnectionDropped:
                await asyncio.sleep(0)  # its run learns of it as well, and begins to settle
        return await run.settlement.end(grace) if run.settlement is not None else False

    async def _read(self, action: Action, task: Task, baseline: Mapping[str, Any] | None = None) -> Result:
        message = request(action, task, allowed(task.target), baseline)
        reply = await self._ask(task.target, message, secrets_of(task), patience=task.timeout)
        return seen_of(action, reply, task)

    async def _ask(
        self, target: Target, message: Mapping[str, Any], secrets: Collection[str], patience: float
    ) -> dict[str, Any]:
        session = await self._pool.session(target, patience=patience)
        return await session.ask(message, _silent, secrets, lambda _: None)


def _begun(run: _RunningOperation, session: HostSession, tag: int) -> None:
    run.session, run.tag = session, tag
    fault("ssh.asked")


def _silent(message: str) -> None:
    """Nobody is waiting to hear how far a look is."""
