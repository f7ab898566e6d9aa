"""Reads of a target while the claim is under way, for operations which permit it (`Operation.ahead`).

Like every read it needs a read grant signed by policy. The result is reported only under the grant, and only
if it is fresh and for the same task; otherwise it is dropped and read again.
"""

import asyncio

from writ_agent.backends.port import Backend, Task
from writ_agent.preflight.host_reads import task_of
from writ_agent.reporting.progress import HeldProgress, ProgressRelay
from writ_agent.reporting.security_reports import SecurityReporter
from writ_agent.verification import SecurityRefusal, VerificationContext, verify_early_read_grant
from writ_agent.work.running import RunningOperation
from writ_bus import tasks
from writ_contracts.errors import WritError
from writ_contracts.journal import Dispatched
from writ_runtime.clocks import ServerClock
from writ_runtime.logs import Log

FRESH = 1.0
"""Seconds. An older read is not reported as the state at the start."""
_log = Log("writ.agent")


class EarlyRead:
    """One early read: begun with the claim, taken with the grant, and dropped if it was not taken."""

    def __init__(
        self,
        work: Dispatched,
        backend: Backend,
        trust: VerificationContext,
        reporter: SecurityReporter,
        grace: float,
        time: ServerClock,
    ) -> None:
        """Begin the read, as soon as the caller waits for something. `grace` as in Running."""
        self._time = time
        self._backend = backend
        self._trust = trust
        self._reporter = reporter
        self._grace = grace
        self._task: Task | None = None
        self._running: RunningOperation | None = None
        self._dropping: asyncio.Task[bool] | None = None
        self._began = time.clocks.boot()
        self._progress = HeldProgress()
        self._beginning = tasks.start(self._begin(work), "early read")

    async def _begin(self, work: Dispatched) -> None:
        if self._dropping is not None:
            return
        try:
            verified = verify_early_read_grant(self._trust, work, self._time.now())
            if verified is not None:
                grant, operation = verified
                self._task = task_of(grant, operation, operation.check(work.parameters), work.attempt, work.timeout)
                self._running = RunningOperation(self._backend, self._task, self._progress, self._grace)
        except SecurityRefusal as refused:
            await self._reporter.report(refused, work.operation_id, work.principal)
        except WritError as error:
            _log.info("agent.no_early_read", operation_id=work.operation_id, reason=str(error))
        except Exception as error:  # noqa: BLE001 - a defect: what is granted is run all the same
            _log.error("agent.early_read_broke", operation_id=work.operation_id, exception=error)

    async def settle(self, task: Task) -> None:
        """End the read unless it serves this granted task."""
        if self._task != task or self._time.clocks.boot() - self._began > FRESH:
            await self.drop()

    def take(self, relay: ProgressRelay) -> RunningOperation | None:
        """Return the running read, which the caller then owns. Its further progress goes to `relay`."""
        self._progress.relay = relay
        return self._take()

    def _take(self) -> RunningOperation | None:
        running, self._running = self._running, None
        return running

    async def drop(self) -> bool:
        """End the read unless it was taken, once for all callers. Return whether nothing of it certainly runs."""
        if self._dropping is None and self._beginning.done() and self._running is None:
            return True
        self._dropping = self._dropping or tasks.start(self._drop(), "drop early read")
        return await asyncio.shield(self._dropping)

    async def _drop(self) -> bool:
        await self._beginning  # it may be reporting a forged read grant
        running = self._take()
        if running is None:
            return True
        certain = await running.stop("cancel")
        await running.abandon()
        return certain
