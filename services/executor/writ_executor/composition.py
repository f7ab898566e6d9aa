"""The composition of the executor: every part gets its dependencies, in order."""

from collections.abc import Callable
from dataclasses import dataclass

from writ_contracts.life import AcceptedLife, State
from writ_contracts.version import REQUESTS_DISPATCH, TEXT_DIGESTS
from writ_executor.admission.admission import Admission
from writ_executor.agents.alarms import SecurityEventRecorder
from writ_executor.agents.key_use import AgentKeyUse
from writ_executor.agents.notices import NoticeEndpoint
from writ_executor.agents.presence import AgentPresence
from writ_executor.agents.signed_replies import SignedReplies
from writ_executor.control.archiving import ArchiveOperation
from writ_executor.control.operations import ControlOperations
from writ_executor.control.policy_versions import PolicyVersionOperations
from writ_executor.control.principals import PrincipalManagement
from writ_executor.foundation import Foundation
from writ_executor.journal.audit_services import AuditServices
from writ_executor.journal.follower import JournalFollower
from writ_executor.journal.generations import Generations
from writ_executor.journal.index import Index
from writ_executor.journal.recorder import Recorder
from writ_executor.journal.storage_watch import StorageWatch
from writ_executor.policy.client import PolicyClient
from writ_executor.replicas import ExecutorReplicas
from writ_executor.requests.backend_tests import BackendTests
from writ_executor.requests.early_storage import EarlyStorage
from writ_executor.requests.intake import RequestEndpoint
from writ_executor.requests.queries import QueryEndpoint
from writ_executor.requests.screening import RequestScreening
from writ_executor.requests.sought_values import SoughtValuesEndpoint
from writ_executor.requests.visible import TargetVisibility
from writ_executor.requests.waiting_reasons import WaitingReasons
from writ_executor.rounds.accepted_operations import AcceptedOperations
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
from writ_runtime.journal.journal_guard import JournalGuard
from writ_runtime.journal.stop_history import StopHistory
from writ_trust.sealing import has_aes


@dataclass(frozen=True, kw_only=True)
class Components:
    """The handlers of messages and rounds."""

    index: Index
    background: BackgroundTasks
    presence: AgentPresence
    follower: JournalFollower
    recorder: Recorder
    storage: StorageWatch
    unwatched: Recorder
    """Stores while the storage is judged to be broken."""
    admission: Admission
    sweep: Sweep
    intake: RequestEndpoint
    claims: ClaimEndpoint
    alarms: SecurityEventRecorder
    key_use: AgentKeyUse
    receipts: ReceiptEndpoint
    queries: QueryEndpoint
    notices: NoticeEndpoint
    sought_values: SoughtValuesEndpoint
    audit_services: AuditServices
    replicas: ExecutorReplicas
    policy: PolicyClient
    restored: RestoreRecovery
    guard: JournalGuard


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
    config, bus, measures, time = base.config, base.bus, base.measures, base.time
    audit_services = AuditServices(time.clocks.boot)
    replicas = _replicas(base)
    steps = _steps(base, audit_services, replicas)
    index, recorder, lives, outcomes = base.index, base.recorder, base.lives, steps.outcomes
    generations = Generations(bus.journal, index, audit_services, config.journal_keep, config.full_at, recorder.clock)
    controls = _controls(base, steps, generations)
    accepted = AcceptedOperations(
        steps.dispatcher, steps.host_reads, controls, steps.approvals, steps.previews, base.background
    )
    base.follower.on_event = _after_event(base.background, accepted, outcomes, steps.dispatcher)
    visible, dry = TargetVisibility(base.policy), config.dry_run_only
    screening = RequestScreening(base.targets, visible, base.admission, controls, lives, dry_run_only=dry)
    return Components(
        index=index,
        background=base.background,
        presence=base.presence,
        follower=base.follower,
        recorder=recorder,
        storage=base.storage,
        unwatched=Recorder(bus.journal, index, measures, time.now),
        admission=base.admission,
        sweep=_sweep(base, steps, controls, accepted),
        intake=_intake(base, screening, accepted, steps.dispatcher),
        claims=_claims(base, outcomes),
        alarms=base.alarms,
        key_use=base.key_use,
        receipts=_receipts(base, steps),
        queries=_queries(base, steps, screening, generations),
        notices=NoticeEndpoint(recorder),
        sought_values=SoughtValuesEndpoint(base.catalogue, base.vault.search_keys),
        audit_services=audit_services,
        replicas=replicas,
        policy=base.policy,
        guard=base.guard,
        restored=RestoreRecovery(config.restored, bus.journal, index, lives, recorder, outcomes),
    )


def _replicas(base: Foundation) -> ExecutorReplicas:
    def matters() -> bool:
        reads_requests = base.config.dispatch_at_once and base.presence.any_reads_requests()
        return reads_requests or (has_aes() and bool(base.presence.all_agents()))

    replicas = ExecutorReplicas(base.bus, matters, base.time.clocks.boot)
    base.vault.all_read_attached = replicas.all_read_attached
    base.policy.leaves_out_texts = lambda: all(one.all_read(TEXT_DIGESTS) for one in (base.presence, replicas))
    return replicas


def _steps(base: Foundation, audit_services: AuditServices, replicas: ExecutorReplicas) -> _Steps:
    config, bus, catalogue, index = base.config, base.bus, base.catalogue, base.index
    recorder, vault, policy, presence = base.recorder, base.vault, base.policy, base.presence
    targets, statements, detail = base.targets, base.statements, base.audit_detail
    approvers, stops = ApproverEvents(bus), StopHistory(bus.journal)

    def read_requests(pool: str) -> bool:
        others = (audit_services, replicas)
        return presence.reads_requests(pool) and all(other.all_read(REQUESTS_DISPATCH) for other in others)

    at_once = read_requests if config.dispatch_at_once else lambda _: False
    clock = base.time.clocks.boot
    notices = BaselineNotices(bus, index, presence)
    dispatcher = Dispatcher(
        bus, catalogue, recorder, index, base.follower, notices, config.start_window, at_once, clock
    )
    outcomes = OutcomeRecorder(recorder, vault, dispatcher, presence, base.background, detail, approvers)
    approvals = ApprovalSteps(
        catalogue, index, recorder, vault, policy, outcomes, approvers, targets, stops, config.queue_window, statements
    )
    dispatcher.review = approvals.review
    replies = SignedReplies(statements, presence)
    host_reads = HostReadRequests(bus, catalogue, index, recorder, vault, policy, detail, outcomes, statements, replies)
    previews = PendingPreviews(catalogue, index, recorder, vault, presence, host_reads, detail, clock)
    return _Steps(
        dispatcher=dispatcher,
        cancels=Cancels(bus, replies),
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
    return Sweep(
        base.config,
        base.catalogue,
        base.index,
        base.presence,
        steps.dispatcher,
        steps.outcomes,
        accepted,
        controls,
        steps.host_reads,
        steps.previews,
        steps.approvals,
        ParameterRetention(base.config, base.vault, base.time.clocks.boot),
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


def _queries(base: Foundation, steps: _Steps, screening: RequestScreening, generations: Generations) -> QueryEndpoint:
    config, index, replies = base.config, base.index, SignedReplies(base.statements, base.presence)
    return QueryEndpoint(
        base.catalogue,
        index,
        base.lives,
        base.targets,
        TargetVisibility(base.policy),
        base.vault,
        base.policy,
        screening,
        BackendTests(base.bus, index, base.vault, base.policy, base.recorder, replies),
        Buckets(config.rate, config.burst),
        generations,
        WaitingReasons(index, base.presence, base.time.now, steps.previews.refusal),
        base.recorder.clock,
    )


def _after_event(
    background: BackgroundTasks, accepted: AcceptedOperations, outcomes: OutcomeRecorder, dispatcher: Dispatcher
) -> Callable[[AcceptedLife, str], None]:
    def happened(life: AcceptedLife, kind: str) -> None:
        """Continue or clean up an operation after policy recorded people's verdicts. Notice other executors' ways."""
        if kind == "approved" and life.state is State.APPROVED:
            background.spawn("approved", accepted.begin(life))
        elif kind == "rejected":
            outcomes.rejected(life)
        elif kind == "dispatched":
            dispatcher.notice_earlier_release(life)

    return happened
