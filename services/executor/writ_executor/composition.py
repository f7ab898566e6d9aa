"""The composition of the executor: every part gets its dependencies, in order."""

from dataclasses import dataclass

from writ_contracts import subjects
from writ_contracts.life import AcceptedLife, State
from writ_executor.agents.host_lacks import HostLacks
from writ_executor.agents.notices import NoticeEndpoint
from writ_executor.agents.wait_notices import WaitNotices
from writ_executor.control.archiving import ArchiveOperation
from writ_executor.control.operations import ControlOperations
from writ_executor.control.policy_versions import PolicyVersionOperations
from writ_executor.control.principals import PrincipalManagement
from writ_executor.foundation import Foundation
from writ_executor.journal.follower import OnEvent
from writ_executor.journal.generations import Generations
from writ_executor.journal.recorder import Recorder
from writ_executor.journal.storage_probes import StorageProbes
from writ_executor.requests.backend_tests import BackendTests
from writ_executor.requests.early_storage import EarlyStorage
from writ_executor.requests.intake import RequestEndpoint
from writ_executor.requests.queries import QueryEndpoint
from writ_executor.requests.screening import RequestScreening
from writ_executor.requests.sought_values import SoughtValuesEndpoint
from writ_executor.requests.visible import TargetVisibility
from writ_executor.requests.waiting_reasons import WaitingReasons
from writ_executor.rounds.accepted_operations import AcceptedOperations
from writ_executor.rounds.pending_approvals import ApprovalWaits
from writ_executor.rounds.probes import DueProbes
from writ_executor.rounds.restore_recovery import RestoreRecovery
from writ_executor.rounds.sweep import Sweep
from writ_executor.steps.approvals import ApprovalSteps
from writ_executor.steps.approver_events import ApproverEvents
from writ_executor.steps.background import BackgroundTasks
from writ_executor.steps.baseline_notices import BaselineNotices
from writ_executor.steps.cancels import Cancels
from writ_executor.steps.claims import ClaimEndpoint
from writ_executor.steps.dispatch import Dispatcher
from writ_executor.steps.host_reads import HostReadRequests
from writ_executor.steps.outcomes import OutcomeRecorder
from writ_executor.steps.parameter_retention import ParameterRetention
from writ_executor.steps.pending_previews import PendingPreviews
from writ_executor.steps.receipts import ReceiptEndpoint
from writ_runtime.buckets import Buckets
from writ_runtime.journal.stop_history import StopHistory


@dataclass(frozen=True, kw_only=True)
class Components:
    """The handlers of messages and rounds, over the foundation."""

    after_event: OnEvent
    sweep: Sweep
    intake: RequestEndpoint
    claims: ClaimEndpoint
    receipts: ReceiptEndpoint
    queries: QueryEndpoint
    notices: NoticeEndpoint
    sought_values: SoughtValuesEndpoint
    wait_notices: WaitNotices
    restored: RestoreRecovery


@dataclass(frozen=True, kw_only=True)
class _Steps:
    """The steps of an operation after its request."""

    dispatcher: Dispatcher
    cancels: Cancels
    outcomes: OutcomeRecorder
    approvals: ApprovalSteps
    host_reads: HostReadRequests
    previews: PendingPreviews


def compose(base: Foundation) -> Components:
    """Compose all parts over the foundation; nothing runs yet."""
    config, bus, measures, time, audit = base.config, base.bus, base.measures, base.time, base.audit_services
    steps = _steps(base)
    index, recorder, lives, outcomes = base.index, base.recorder, base.lives, steps.outcomes
    generations = Generations(bus.journal, index, audit, config.journal_keep, config.full_at, recorder.clock)
    controls = _controls(base, steps, generations)
    accepted = AcceptedOperations(
        steps.dispatcher, steps.host_reads, controls, steps.approvals, steps.previews, base.background
    )
    StorageProbes(bus, Recorder(bus.unwatched.journal, index, measures, time.now))
    visible, dry = TargetVisibility(base.policy), config.dry_run_only
    wait_notices = WaitNotices(index.get, time.clocks.boot)
    screening = RequestScreening(base.targets, visible, base.admission, controls, lives, dry_run_only=dry)
    return Components(
        after_event=_after_event(base.background, accepted, outcomes, base.host_lacks),
        sweep=_sweep(base, steps, controls, accepted),
        intake=_intake(base, screening, accepted, steps.dispatcher),
        claims=_claims(base, outcomes),
        receipts=_receipts(base, steps),
        queries=_queries(base, steps, screening, generations, wait_notices),
        notices=NoticeEndpoint(recorder),
        sought_values=SoughtValuesEndpoint(base.catalogue, base.vault.search_keys),
        wait_notices=wait_notices,
        restored=RestoreRecovery(config.restored, bus.journal, index, lives, recorder, outcomes),
    )


def _steps(base: Foundation) -> _Steps:
    config, bus, catalogue, index = base.config, base.bus, base.catalogue, base.index
    recorder, vault, policy, presence = base.recorder, base.vault, base.policy, base.presence
    targets, statements, detail = base.targets, base.statements, base.audit_detail
    approvers, stops = ApproverEvents(bus), StopHistory(bus.journal)

    notices = BaselineNotices(bus, index, presence)
    dispatcher = Dispatcher(
        bus,
        catalogue,
        recorder,
        index,
        base.follower,
        notices,
        config.start_window,
        with_requests=config.dispatch_at_once,
    )
    outcomes = OutcomeRecorder(recorder, vault, dispatcher, presence, base.background, detail, approvers)
    approvals = ApprovalSteps(
        catalogue, index, recorder, vault, policy, outcomes, approvers, targets, stops, config.queue_window, statements
    )
    dispatcher.review = approvals.review
    host_reads = HostReadRequests(
        bus, catalogue, index, recorder, vault, policy, detail, outcomes, statements, base.replies
    )
    previews = PendingPreviews(catalogue, index, recorder, vault, presence, host_reads, detail, base.time.clocks.boot)
    return _Steps(
        dispatcher=dispatcher,
        cancels=Cancels(bus, base.replies),
        outcomes=outcomes,
        approvals=approvals,
        host_reads=host_reads,
        previews=previews,
    )


def _controls(base: Foundation, steps: _Steps, generations: Generations) -> ControlOperations:
    bus, index, recorder, lives, vault = base.bus, base.index, base.recorder, base.lives, base.vault
    publishing = PolicyVersionOperations(bus, index, recorder, lives, vault, base.policy)
    archiving = ArchiveOperation(bus, recorder, vault, generations, base.config.remember)
    principals = PrincipalManagement(bus, recorder, lives, vault, index, steps.outcomes)
    return ControlOperations(
        recorder,
        lives,
        vault,
        steps.outcomes,
        steps.cancels,
        publishing,
        archiving,
        principals,
        index,
        base.follower,
        base.targets,
        steps.approvals.review,
    )


def _sweep(base: Foundation, steps: _Steps, controls: ControlOperations, accepted: AcceptedOperations) -> Sweep:
    clock = base.time.clocks.boot
    kept = ParameterRetention(base.config, base.vault, clock)
    return Sweep(
        base.config,
        base.index,
        base.presence,
        steps.dispatcher,
        steps.outcomes,
        accepted,
        controls,
        DueProbes(base.catalogue, base.presence, steps.dispatcher, steps.host_reads, clock),
        ApprovalWaits(steps.previews, steps.approvals, kept, steps.outcomes, base.background),
        steps.cancels,
        base.admission,
        base.background,
        base.time,
    )


def _intake(
    base: Foundation, screening: RequestScreening, accepted: AcceptedOperations, dispatcher: Dispatcher
) -> RequestEndpoint:
    return RequestEndpoint(
        base.config,
        base.catalogue,
        base.targets,
        screening,
        base.index,
        base.admission,
        base.recorder,
        base.lives,
        base.vault,
        EarlyStorage(base.config, base.audit_detail, base.admission, base.vault, base.background),
        base.policy,
        accepted,
        dispatcher,
        base.guard,
    )


def _claims(base: Foundation, outcomes: OutcomeRecorder) -> ClaimEndpoint:
    return ClaimEndpoint(
        base.statements,
        base.index,
        base.catalogue,
        base.keys,
        base.targets,
        base.lives,
        base.recorder,
        base.vault,
        base.policy,
        outcomes,
        base.presence,
        base.key_use,
        base.alarms,
        base.audit_detail,
        base.measures,
        base.guard,
    )


def _receipts(base: Foundation, steps: _Steps) -> ReceiptEndpoint:
    return ReceiptEndpoint(
        base.statements,
        base.lives,
        base.recorder,
        base.vault,
        steps.dispatcher,
        steps.outcomes,
        base.alarms,
    )


def _queries(
    base: Foundation,
    steps: _Steps,
    screening: RequestScreening,
    generations: Generations,
    wait_notices: WaitNotices,
) -> QueryEndpoint:
    config, index = base.config, base.index
    return QueryEndpoint(
        base.catalogue,
        index,
        base.lives,
        base.targets,
        TargetVisibility(base.policy),
        base.vault,
        base.policy,
        screening,
        BackendTests(base.bus, index, base.vault, base.policy, base.recorder, base.replies),
        Buckets(config.rate, config.burst),
        generations,
        WaitingReasons(
            index,
            base.presence,
            wait_notices,
            base.time.now,
            steps.previews.refusal,
            lambda: base.bus.watches[subjects.JOURNAL_STREAM].problem,
            base.policy.problem,
        ),
        base.host_lacks,
        steps.host_reads.undecided,
        base.recorder.clock,
    )


def _after_event(
    background: BackgroundTasks, accepted: AcceptedOperations, outcomes: OutcomeRecorder, lacks: HostLacks
) -> OnEvent:
    def happened(life: AcceptedLife, kind: str) -> None:
        """Continue or clean up an operation after policy recorded people's verdicts. A success shows what a host
        has.
        """
        if kind == "finished" and life.outcome == "succeeded":
            lacks.succeeded(life.requested.target, life.requested.operation, life.time)
        if kind == "approved" and life.state is State.APPROVED:
            background.spawn("approved", accepted.begin(life))
        elif kind == "rejected":
            outcomes.rejected(life)

    return happened
