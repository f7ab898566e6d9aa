"""The first step of an accepted operation: wait for approval, dispatch it, preview it, or carry it out here."""

from writ_contracts.errors import WritError
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.life import AcceptedLife, Life, State
from writ_executor.control.operations import ControlOperations
from writ_executor.journal.lines import needs_approval
from writ_executor.steps.approvals import ApprovalSteps
from writ_executor.steps.background import BackgroundTasks
from writ_executor.steps.dispatch import Dispatcher
from writ_executor.steps.host_reads import HostReadRequests
from writ_executor.steps.pending_previews import PendingPreviews
from writ_runtime.faults import fault
from writ_runtime.logs import Log

_log = Log("writ.executor")


class AcceptedOperations:
    """The first step after `requested`. The sweep repeats it if a replica died before."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        host_reads: HostReadRequests,
        controls: ControlOperations,
        approvals: ApprovalSteps,
        previews: PendingPreviews,
        background: BackgroundTasks,
    ) -> None:
        self._dispatcher = dispatcher
        self._host_reads = host_reads
        self._controls = controls
        self._approvals = approvals
        self._previews = previews
        self._background = background

    async def begin_recorded(self, life: AcceptedLife) -> Life:
        """Begin the request recorded just now. An error is left to the sweep."""
        fault("executor.requested")
        try:
            return await self.begin(life)
        except WritError as error:  # it is accepted: an error here must not look like a refusal
            _log.warning("operation.not_begun", code=error.code, error=str(error), effect="the sweep takes it up")
            return life

    async def begin(self, life: AcceptedLife) -> Life:
        """Begin it. Return the life when the requester may be answered."""
        requested = life.requested
        if requested.dispatched is not None:
            return life
        if requested.dry_run:
            self._background.spawn("preview", self._host_reads.preview(life))
            return life
        if life.state is State.REQUESTED and needs_approval(requested):
            life = await self._approvals.wait(life)
            self._background.spawn("preview", self._previews.take(life))
            return life
        if requested.target == WRIT_TARGET:
            self._background.spawn("control", self._controls.carry_out(life))
            return life
        return await self._dispatcher.start(life)
