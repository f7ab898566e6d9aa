"""The parts of the executor on which all others stand: the journal, its index, policy and the lists."""

from collections.abc import Collection
from dataclasses import dataclass

from writ_contracts.inventory import Agents, Inventory
from writ_contracts.operations import Catalogue
from writ_executor.admission.admission import Admission
from writ_executor.agents.alarms import SecurityEventRecorder
from writ_executor.agents.copied_keys import CopiedKeys
from writ_executor.agents.host_lacks import HostLacks
from writ_executor.agents.key_use import AgentKeyUse
from writ_executor.agents.keys import AgentKeys
from writ_executor.agents.presence import AgentPresence
from writ_executor.agents.signed_replies import SignedReplies
from writ_executor.agents.signed_statements import AgentStatements
from writ_executor.agents.targets import Targets
from writ_executor.config import ExecutorConfig
from writ_executor.journal.audit_level import LEVELS, AuditDetail
from writ_executor.journal.audit_services import AuditServices
from writ_executor.journal.follower import JournalFollower
from writ_executor.journal.hidden_values import Vault
from writ_executor.journal.index import Index
from writ_executor.journal.lookup import OperationTable
from writ_executor.journal.recorder import Recorder
from writ_executor.journal.shared_keys import SharedKeys
from writ_executor.metrics import ExecutorMeasures
from writ_executor.policy.client import PolicyClient
from writ_executor.replicas import ExecutorReplicas
from writ_executor.steps.background import BackgroundTasks
from writ_runtime.clocks import ServerClock
from writ_runtime.files.policy_keys import PolicyKeys
from writ_runtime.files.watched_file import WatchedFile
from writ_runtime.journal.journal_guard import JournalGuard
from writ_runtime.journal.watched_bus import WatchedBus, WatchedJournal
from writ_runtime.metrics import Metrics


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """The parts on which all others stand: configuration, the journal, policy, and the lists of targets and agents."""

    config: ExecutorConfig
    bus: WatchedBus
    catalogue: Catalogue
    inventory: WatchedFile[Inventory]
    agents: WatchedFile[Agents]
    policy_keys: Collection[str]
    """Policy's keys that count now."""
    measures: ExecutorMeasures
    time: ServerClock
    index: Index
    background: BackgroundTasks
    presence: AgentPresence
    audit_services: AuditServices
    replicas: ExecutorReplicas
    recorder: Recorder
    guard: JournalGuard
    follower: JournalFollower
    lives: OperationTable
    vault: Vault
    policy: PolicyClient
    alarms: SecurityEventRecorder
    statements: AgentStatements
    replies: SignedReplies
    host_lacks: HostLacks
    targets: Targets
    keys: AgentKeys
    key_use: AgentKeyUse
    audit_detail: AuditDetail
    admission: Admission


def lay_foundation(  # long: one list of parts, each given those before it
    config: ExecutorConfig,
    bus: WatchedBus,
    shared: SharedKeys,
    catalogue: Catalogue,
    inventory: WatchedFile[Inventory],
    agents: WatchedFile[Agents],
    measures: ExecutorMeasures,
    measured: Metrics,
    time: ServerClock,
) -> Foundation:
    """Compose the parts which need no others than these."""
    clock = time.clocks.boot
    index, background, presence = Index(), BackgroundTasks(), AgentPresence(config.lease, clock)
    replicas, lacks = ExecutorReplicas(bus, clock), HostLacks(presence, time.now)
    policy_keys = PolicyKeys(config.policy_key, config.keyring).live
    recorder = Recorder(bus.journal, index, measures, time.now)
    guard = _guard(config, bus.journal, recorder, background, measured)
    keys, alarms = AgentKeys(agents), SecurityEventRecorder(recorder)
    statements = AgentStatements(config.installation, keys, alarms)
    return Foundation(
        config=config,
        bus=bus,
        catalogue=catalogue,
        inventory=inventory,
        agents=agents,
        policy_keys=policy_keys,
        measures=measures,
        time=time,
        index=index,
        background=background,
        presence=presence,
        audit_services=AuditServices(clock),
        replicas=replicas,
        recorder=recorder,
        guard=guard,
        follower=JournalFollower(bus, index, shared, measures.success, guard),
        lives=OperationTable(bus, index, measures),
        vault=Vault(bus, shared, replicas.all_read_attached),
        policy=PolicyClient(bus, policy_keys, config.installation, presence, measures),
        alarms=alarms,
        statements=statements,
        replies=SignedReplies(statements),
        host_lacks=lacks,
        targets=Targets(inventory, catalogue, presence, lacks),
        keys=keys,
        key_use=_key_use(config, keys, alarms, background, time),
        audit_detail=LEVELS[config.audit_level],
        admission=Admission(config, bus, index, recorder, measures),
    )


def _key_use(
    config: ExecutorConfig,
    keys: AgentKeys,
    alarms: SecurityEventRecorder,
    background: BackgroundTasks,
    time: ServerClock,
) -> AgentKeyUse:
    copies = CopiedKeys(config.lease, time.clocks.boot, config.agent_processes)
    return AgentKeyUse(copies, keys, alarms, background.spawn)


def _guard(
    config: ExecutorConfig,
    journal: WatchedJournal,
    recorder: Recorder,
    background: BackgroundTasks,
    measured: Metrics,
) -> JournalGuard:
    def alarm(why: str) -> None:
        background.spawn("journal replaced", recorder.security("journal_replaced", f"reported by an executor: {why}"))

    lost, acknowledged = config.journal_lost, lambda: journal.acknowledged
    return JournalGuard(journal, measured, alarm, lost=lost, acknowledged=acknowledged)
