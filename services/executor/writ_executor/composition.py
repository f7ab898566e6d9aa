"""The executor put together: every part is given what it needs, in the order in which they need each other."""

from dataclasses import dataclass

from writ_bus.port import Bus
from writ_contracts.inventory import Agents, Inventory
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
from writ_executor.journal.audit_level import LEVELS
from writ_executor.journal.audit_standing import Audits
from writ_executor.journal.follower import Follower
from writ_executor.journal.generations import Generations
from writ_executor.journal.hidden_values import Vault
from writ_executor.journal.index import Index
from writ_executor.journal.lookup import Lives
from writ_executor.journal.recorder import Recorder
from writ_executor.metrics import Measures
from writ_executor.policy.client import PolicyClient
from writ_executor.requests.backend_tests import BackendTests
from writ_executor.requests.intake import Intake
from writ_executor.requests.queries import Queries
from writ_executor.requests.targets import Targets
from writ_executor.rounds.accepted import Work
from writ_executor.rounds.restored_copy import Settling
from writ_executor.rounds.sweep import Sweep
from writ_executor.steps.background import Chores
from writ_executor.steps.cancels import Cancels
from writ_executor.steps.claims import Claims
from writ_executor.steps.dispatch import Dispatcher
from writ_executor.steps.ends import Endings
from writ_executor.steps.host_reads import Looks
from writ_executor.steps.receipts import Receipts
from writ_runtime.buckets import Buckets
from writ_runtime.clocks import ServerClock
from writ_runtime.journal_guard import JournalGuard
from writ_runtime.metrics import Metrics
from writ_runtime.watched_file import Watched


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What messages and rounds are handed to."""

    index: Index
    chores: Chores
    presence: Presence
    follower: Follower
    recorder: Recorder
    admission: Admission
    sweep: Sweep
    intake: Intake
    claims: Claims
    receipts: Receipts
    queries: Queries
    notices: Notices
    audits: Audits
    policy: PolicyClient
    generations: Generations
    settling: Settling
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
) -> Parts:
    """All of them over one bus; nothing runs yet."""
    index, chores, presence = Index(), Chores(), Presence(config.lease, time.clocks.boot)
    recorder = Recorder(bus.journal, index, measures, time.now)
    guard = _guard(config, bus, recorder, chores, measured)
    follower = Follower(bus, index, key, measures.success, guard)
    lives, vault = Lives(bus, index, measures), Vault(bus, key)
    policy, alarms = PolicyClient(bus, config.policy_key, measures), Alarms(recorder)
    targets, keys, kept = Targets(inventory, catalogue, presence), AgentKeys(agents), LEVELS[config.audit_level]
    admission = Admission(config, bus, index, recorder, measures)
    dispatcher = Dispatcher(bus, recorder, index, follower, config.start_window)
    endings, cancels = Endings(recorder, vault, dispatcher, presence, chores, kept), Cancels(bus)
    looks, audits = Looks(bus, catalogue, index, vault, policy, endings), Audits(time.clocks.boot)
    publishing = Publishing(bus, index, recorder, lives, vault, policy)
    generations = Generations(bus.journal, index, audits, config.journal_keep, config.full_at, recorder.clock)
    archiving = Archiving(bus, recorder, vault, generations, config.remember)
    controls = Controls(recorder, lives, vault, endings, cancels, publishing, archiving, index, targets)
    tests, buckets = BackendTests(bus, index, vault, policy, recorder), Buckets(config.rate, config.burst)
    work = Work(index, recorder, lives, dispatcher, looks, controls, chores)
    return Parts(
        index=index,
        chores=chores,
        presence=presence,
        follower=follower,
        recorder=recorder,
        admission=admission,
        sweep=Sweep(
            config,
            catalogue,
            index,
            presence,
            dispatcher,
            endings,
            work,
            controls,
            looks,
            cancels,
            admission,
            chores,
            time,
        ),
        intake=Intake(config, catalogue, targets, admission, recorder, lives, vault, policy, work),
        claims=Claims(
            index, catalogue, keys, lives, recorder, vault, policy, endings, presence, alarms, kept, measures
        ),
        receipts=Receipts(keys, lives, recorder, vault, dispatcher, endings, alarms),
        queries=Queries(catalogue, index, lives, targets, vault, policy, work, tests, buckets, generations),
        notices=Notices(recorder),
        audits=audits,
        policy=policy,
        generations=generations,
        guard=guard,
        settling=Settling(config.restored, bus.journal, index, lives, recorder, endings),
    )


def _guard(config: Config, bus: Bus, recorder: Recorder, chores: Chores, measured: Metrics) -> JournalGuard:
    def alarm(why: str) -> None:
        chores.spawn("journal replaced", recorder.security("journal_replaced", f"seen by an executor: {why}"))

    return JournalGuard(bus.journal, measured, alarm, lost=config.journal_lost)
