"""The rounds of every replica over all overdue operations. The journal decides which replica wins.

There is no leader and no lease among executors: a dead replica stops acting, and the others find its open steps.
"""

import asyncio
import random

from writ_contracts.errors import Conflict, WritError
from writ_contracts.journal import AwaitingApproval
from writ_contracts.life import MOST_ATTEMPTS, AcceptedLife, CancellingLife, GrantedLife, State
from writ_executor.admission.admission import Admission
from writ_executor.agents.presence import AgentPresence
from writ_executor.config import ExecutorConfig
from writ_executor.control.operations import ControlOperations
from writ_executor.journal.index import Index
from writ_executor.journal.lines import lines_of
from writ_executor.journal.traces import going_on
from writ_executor.rounds.accepted_operations import AcceptedOperations
from writ_executor.rounds.pending_approvals import ApprovalWaits
from writ_executor.rounds.probes import DueProbes
from writ_executor.sightings import Sightings
from writ_executor.steps.background import BackgroundTasks
from writ_executor.steps.cancels import Cancels
from writ_executor.steps.dispatch import Dispatcher
from writ_executor.steps.outcomes import OutcomeRecorder
from writ_executor.steps.overdue import DueStep, WaitingAge, WaitingTimes, due
from writ_runtime.clocks import ServerClock
from writ_runtime.logs import Log

MEASURE = "measure the journal"

_log = Log("writ.executor")


class Sweep:
    """One round a second (`WRIT_SWEEP`), with jitter, so replicas do not act at once."""

    def __init__(
        self,
        config: ExecutorConfig,
        index: Index,
        presence: AgentPresence,
        dispatcher: Dispatcher,
        outcomes: OutcomeRecorder,
        accepted: AcceptedOperations,
        controls: ControlOperations,
        probes: DueProbes,
        pending: ApprovalWaits,
        cancels: Cancels,
        admission: Admission,
        background: BackgroundTasks,
        time: ServerClock,
    ) -> None:
        self._time = time
        self._sightings = Sightings()
        self._config = config
        self._patience = WaitingTimes(takeover=max(2.0, 2 * config.sweep), lease=config.lease)
        self._index = index
        self._presence = presence
        self._dispatcher = dispatcher
        self._outcomes = outcomes
        self._accepted = accepted
        self._controls = controls
        self._probes = probes
        self._pending = pending
        self._cancels = cancels
        self._admission = admission
        self._background = background
        self._busy: set[str] = set()

    async def run(self) -> None:
        """Run rounds until cancelled."""
        while True:
            await asyncio.sleep(self._config.sweep * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load, no secret
            try:
                await self.round()
            except WritError as error:
                _log.warning("sweep.interrupted", error=str(error))

    async def round(self) -> None:
        """Check every operation once."""
        if MEASURE not in self._busy:  # beside the round: a journal that cannot be measured holds up no operation
            self._busy.add(MEASURE)
            self._background.spawn(MEASURE, self._measure())
        self._presence.forget_silent()
        boot, server = self._time.clocks.boot(), self._time.now()
        lives = {life.requested.operation_id: life for life in (*self._index.open(), *self._index.unknown())}
        self._sightings.forget_others(lives)
        self._pending.forget_others(lives)
        for operation_id, life in lives.items():
            age = self._sightings.age(life, boot, server)
            if isinstance(life.phase, AwaitingApproval) and life.open:
                self._pending.check(life, life.phase, age)
            what = due(life, age, self._presence.silence(life.requested.pool, operation_id), self._patience)
            # One step for a whole line.
            about = " ".join(lines_of(life.requested)) if what is DueStep.ADVANCE else operation_id
            if what is not DueStep.NOTHING and about not in self._busy:
                self._busy.add(about)
                self._background.spawn(f"sweep {what}", self._do(what, life, age, about))

    async def _measure(self) -> None:
        try:
            await self._admission.measure_fill()
            await self._admission.summarise()
        finally:
            self._busy.discard(MEASURE)

    async def _do(self, what: DueStep, life: AcceptedLife, age: WaitingAge, about: str) -> None:
        try:
            with going_on(life):
                await self._act(what, life, age)
        except Conflict:
            _log.debug("sweep.superseded", operation_id=life.requested.operation_id, due=what)
        finally:
            self._busy.discard(about)

    async def _act(self, what: DueStep, life: AcceptedLife, age: WaitingAge) -> None:
        match what:
            case DueStep.NOTHING:
                return
            case DueStep.BEGIN:
                await self._accepted.begin(life)
            case DueStep.ADVANCE:
                await self._dispatcher.advance(*lines_of(life.requested))
            case DueStep.EXPIRE:
                await self._expire(life, age)
            case DueStep.CONTROL:
                await self._controls.carry_out(life)
            case DueStep.CANCEL:
                await self._cancel(life)
            case DueStep.PROBE:
                await self._probes.take(life, age)
            case DueStep.MARK_UNKNOWN:
                await self._mark_unknown(life)
            case DueStep.RESOLVE_CANCEL:
                await self._controls.resolve_cancel(life)

    async def _cancel(self, life: AcceptedLife) -> None:
        if isinstance(life, CancellingLife):
            await self._cancels.request_again(life)

    async def _expire(self, life: AcceptedLife, age: WaitingAge) -> None:
        if isinstance(life.phase, AwaitingApproval):
            await self._pending.expire(life, life.phase, age)
        else:
            await self._outcomes.not_started(life, "expired", *self._why_not_started(life))

    def _why_not_started(self, life: AcceptedLife) -> tuple[str, str]:
        """Return code and message for an operation that nobody started until its deadline."""
        pool = life.requested.pool
        if life.state is State.DISPATCHED:
            if self._presence.agents(pool):
                return "not_claimed", f"no agent of pool {pool} was free in time, or its claim was refused"
            return "no_agent", f"no agent of pool {pool} was online in time"
        limit = self._dispatcher.held_up_by(life)
        if limit is None:
            return "not_claimed", "another operation held the lock of its target until the deadline"
        what = "operations" if limit.kind == "max_concurrent" else "targets"
        return (
            "limit_reached",
            f"rule '{limit.rule}' allows {limit.most} {what} at once, and it stayed used up until the deadline",
        )

    async def _mark_unknown(self, life: AcceptedLife) -> None:
        """End an operation whose deadline and kill grace are over without a report; or dispatch it again if it is
        idempotent.
        """
        silence = self._presence.silence(life.requested.pool, life.requested.operation_id)
        silent = silence > self._config.lease  # a live attempt must stay the only one
        if isinstance(life, GrantedLife) and silent and _may_run_again(life):
            await self._dispatcher.again(life)
        else:
            await self._outcomes.mark_unknown(
                life, "lost", "its agent sent no more heartbeats; it is not known whether it took effect"
            )


def _may_run_again(life: GrantedLife) -> bool:
    """Return whether the operation may be dispatched once more, while nobody cancels it."""
    repeatable = life.requested.idempotent and life.dispatched.attempt < MOST_ATTEMPTS
    return repeatable and life.state is State.STARTED
