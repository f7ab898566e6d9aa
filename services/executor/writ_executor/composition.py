"""The composition of the executor: every part gets its dependencies, in order."""

from dataclasses import dataclass

from writ_bus.port import Bus
from writ_contracts.inventory import Agents, Inventory
from writ_contracts.life import Life, State
from writ_contracts.operations import Catalogue
from writ_executor.admission.admission import Admission
from writ_executor.agents.alarms import Alarms
from writ_executor.agents.keys import AgentKeys
from writ_executor.agents.notices import Notices
from writ_executor.agents.presence import Presence
from writ_executor.config import Config
from writ_executor.control.archiving import Archiving
from writ_executor.control.operations import Controls
from writ_executor.control.policy_versions import Publishing
from writ_executor.control.principals import PrincipalChanges
from writ_executor.journal.audit_level import LEVELS
from writ_executor.journal.audit_services import AuditServices
from writ_executor.journal.follower import Follower
from writ_executor.journal.generations import Generations
from writ_executor.journal.hidden_values import Vault
from writ_executor.journal.index import Index
from writ_executor.journal.lookup import Lives
from writ_executor.journal.recorder import Recorder
from writ_executor.journal.storage_watch import StorageWatch, WatchedJournal
from writ_executor.metrics import Measures
from writ_executor.policy.client import PolicyClient
from writ_executor.requests.backend_tests import BackendTests
from writ_executor.requests.intake import Intake
from writ_executor.requests.queries import Queries
from writ_executor.requests.screening import Screening
from writ_executor.requests.targets import Targets
from writ_executor.requests.waiting import WaitingReasons
from writ_executor.rounds.accepted import AcceptedOperations
from writ_executor.rounds.restored_journal import RestoredJournal
from writ_executor.rounds.sweep import Sweep
from writ_executor.steps.approvals import Approvals
from writ_executor.steps.approver_events import ApproverEvents
from writ_executor.steps.background import BackgroundTasks
from writ_executor.steps.cancels import Cancels
from writ_executor.steps.claims import Claims
from writ_executor.steps.dispatch import Dispatcher
from writ_executor.steps.host_reads import HostReads
from writ_executor.steps.kept_parameters import KeptParameters
from writ_executor.steps.outcomes import OutcomeRecorder
from writ_executor.steps.pending_previews import PendingPreviews
from writ_executor.steps.receipts import Receipts
from writ_runtime.buckets import Buckets
from writ_runtime.clocks import ServerClock
from writ_runtime.journal_guard import JournalGuard
from writ_runtime.metrics import Metrics
from writ_runtime.policy_keys import PolicyKeys
from writ_runtime.stop_history import StopHistory
from writ_runtime.watched_file import Watched


@dataclass(frozen=True, kw_only=True)
class Components:
    """The handlers of messages and rounds."""

    index: Index
    background: BackgroundTasks
    presence: Presence
    follower: Follower
    recorder: Recorder
    storage: StorageWatch
    unwatched: Recorder
    """Stores while the storage is judged to be broken."""
    admission: Admission
    sweep: Sweep
    intake: Intake
    claims: Claims
    receipts: Receipts
    queries: Queries
    notices: Notices
    audit_services: AuditServices
    policy: PolicyClient
    generations: Generations
    restored: RestoredJournal
    guard: JournalGuard


def compose(  # long: one list of parts, each given those before it
    config: Config,
    bus: Bus,
    key: bytes,
    catalogue: Catalogue,
    inventory: Watched[Inventory],
    agents: Watched[Agents],
    measures: Measures,
    measured: Metrics,
    time: ServerClock,
) -> Components:
    """Compose all parts over one bus; nothing runs yet."""
    index, background, presence = Index(), BackgroundTasks(), Presence(config.lease, time.clocks.boot)
    storage = StorageWatch(bus.journal.usage, time.now)
    recorder = Recorder(WatchedJournal(bus.journal, storage), index, measures, time.now)
    guard = _guard(config, bus, recorder, background, measured)
    follower = Follower(bus, index, key, measures.success, guard)
    lives, vault = Lives(bus, index, measures), Vault(bus, key, storage)
    trusted = PolicyKeys(config.policy_key, config.keyring).live
    policy, alarms = PolicyClient(bus, trusted, config.installation, presence, measures), Alarms(recorder)
    targets, keys, audit_detail = Targets(inventory, catalogue, presence), AgentKeys(agents), LEVELS[config.audit_level]
    admission = Admission(config, bus, index, recorder, measures)
    dispatcher = Dispatcher(bus, recorder, index, follower, config.start_window)
    approvers, cancels = ApproverEvents(bus), Cancels(bus)
    outcomes = OutcomeRecorder(recorder, vault, dispatcher, presence, background, audit_detail, approvers)
    approvals = Approvals(
        catalogue,
        index,
        recorder,
        vault,
        policy,
        outcomes,
        approvers,
        targets,
        StopHistory(bus.journal),
        config.queue_window,
    )
    dispatcher.review = approvals.review
    host_reads, audit_services = (
        HostReads(bus, catalogue, index, vault, policy, outcomes),
        AuditServices(time.clocks.boot),
    )
    boot = time.clocks.boot
    previews = PendingPreviews(
        catalogue, index, recorder, vault, keys, presence, host_reads, audit_detail, boot, config.installation
    )
    publishing = Publishing(bus, index, recorder, lives, vault, policy)
    generations = Generations(bus.journal, index, audit_services, config.journal_keep, config.full_at, recorder.clock)
    archiving = Archiving(bus, recorder, vault, generations, config.remember)
    principals = PrincipalChanges(bus, recorder, lives, vault, index, outcomes)
    controls = Controls(
        recorder, lives, vault, outcomes, cancels, publishing, archiving, principals, index, targets, approvals.review
    )
    waiting = WaitingReasons(index, presence)
    tests, buckets = BackendTests(bus, index, vault, policy, recorder), Buckets(config.rate, config.burst)
    accepted = AcceptedOperations(index, lives, dispatcher, host_reads, controls, approvals, previews, background)
    screening = Screening(targets, admission, accepted, dry_run_only=config.dry_run_only)

    def decided(life: Life, kind: str) -> None:
        """Continue or clean up an operation after policy recorded people's verdicts."""
        if kind == "approved" and life.state is State.APPROVED:
            background.spawn("approved", accepted.begin(life))
        elif kind == "rejected":
            outcomes.rejected(life)

    follower.heard = decided
    return Components(
        index=index,
        background=background,
        presence=presence,
        follower=follower,
        recorder=recorder,
        storage=storage,
        unwatched=Recorder(bus.journal, index, measures, time.now),
        admission=admission,
        sweep=Sweep(
            config,
            catalogue,
            index,
            presence,
            dispatcher,
            outcomes,
            accepted,
            controls,
            host_reads,
            previews,
            approvals,
            KeptParameters(config, vault, index, boot),
            cancels,
            admission,
            background,
            time,
        ),
        intake=Intake(
            config, catalogue, targets, screening, admission, recorder, lives, vault, policy, accepted, guard
        ),
        claims=Claims(
            config.installation,
            index,
            catalogue,
            keys,
            targets,
            lives,
            recorder,
            vault,
            policy,
            outcomes,
            presence,
            alarms,
            audit_detail,
            measures,
            guard,
        ),
        receipts=Receipts(config.installation, keys, lives, recorder, vault, dispatcher, outcomes, alarms),
        queries=Queries(
            catalogue,
            index,
            lives,
            targets,
            vault,
            policy,
            screening,
            tests,
            buckets,
            generations,
            waiting,
            recorder.clock,
        ),
        notices=Notices(recorder),
        audit_services=audit_services,
        policy=policy,
        generations=generations,
        guard=guard,
        restored=RestoredJournal(config.restored, bus.journal, index, lives, recorder, outcomes),
    )


def _guard(
    config: Config, bus: Bus, recorder: Recorder, background: BackgroundTasks, measured: Metrics
) -> JournalGuard:
    def alarm(why: str) -> None:
        background.spawn("journal replaced", recorder.security("journal_replaced", f"seen by an executor: {why}"))

    return JournalGuard(bus.journal, measured, alarm, lost=config.journal_lost)
