"""The executor put together: every part is given what it needs, in the order in which they need each other."""

from dataclasses import dataclass

from writ_bus.port import Bus
from writ_contracts.inventory import Agents, Inventory
from writ_contracts.operations import Catalogue
from writ_executor.admission import Admission
from writ_executor.agent_keys import AgentKeys
from writ_executor.alarms import Alarms
from writ_executor.archiving import Archiving
from writ_executor.audits import Audits
from writ_executor.backend_tests import BackendTests
from writ_executor.cancels import Cancels
from writ_executor.chores import Chores
from writ_executor.claims import Claims
from writ_executor.config import Config
from writ_executor.control import Controls
from writ_executor.dispatch import Dispatcher
from writ_executor.endings import Endings
from writ_executor.follower import Follower
from writ_executor.generations import Generations
from writ_executor.index import Index
from writ_executor.intake import Intake
from writ_executor.keeping import LEVELS
from writ_executor.lives import Lives
from writ_executor.looks import Looks
from writ_executor.measures import Measures
from writ_executor.notices import Notices
from writ_executor.policy_client import PolicyClient
from writ_executor.presence import Presence
from writ_executor.publishing import Publishing
from writ_executor.queries import Queries
from writ_executor.receipts import Receipts
from writ_executor.recorder import Recorder
from writ_executor.restored import Settling
from writ_executor.sweep import Sweep
from writ_executor.targets import Targets
from writ_executor.vault import Vault
from writ_executor.work import Work
from writ_runtime.buckets import Buckets
from writ_runtime.watched import Watched


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


def compose(  # long: one list of parts, each given those before it
    config: Config,
    bus: Bus,
    key: bytes,
    catalogue: Catalogue,
    inventory: Watched[Inventory],
    agents: Watched[Agents],
    measures: Measures,
) -> Parts:
    """All of them over one bus; nothing runs yet."""
    index, chores, presence = Index(), Chores(), Presence(config.lease)
    follower, recorder = Follower(bus, index, key, measures.success), Recorder(bus.journal, index, measures)
    lives, vault = Lives(bus, index, measures), Vault(bus, key)
    policy, alarms = PolicyClient(bus, config.policy_key, measures), Alarms(recorder)
    targets, keys, kept = Targets(inventory, catalogue, presence), AgentKeys(agents), LEVELS[config.audit_level]
    admission = Admission(config, bus, index, recorder, measures)
    dispatcher = Dispatcher(bus, recorder, index, follower, config.start_window)
    endings, cancels = Endings(recorder, vault, dispatcher, presence, chores, kept), Cancels(bus)
    looks, audits = Looks(bus, catalogue, index, vault, policy, endings), Audits()
    publishing = Publishing(bus, index, recorder, lives, vault, policy)
    generations = Generations(bus.journal, index, audits, config.journal_keep, config.full_at, recorder.clock)
    archiving = Archiving(bus, recorder, vault, generations, config.remember)
    controls = Controls(recorder, lives, vault, endings, cancels, publishing, archiving)
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
            config, catalogue, index, presence, dispatcher, endings, work, controls, looks, cancels, admission, chores
        ),
        intake=Intake(config, catalogue, targets, admission, recorder, lives, vault, policy, work),
        claims=Claims(bus, index, catalogue, keys, lives, recorder, vault, policy, endings, presence, alarms, kept),
        receipts=Receipts(keys, lives, recorder, vault, dispatcher, endings, alarms),
        queries=Queries(catalogue, index, lives, targets, vault, policy, work, tests, buckets, generations),
        notices=Notices(recorder),
        audits=audits,
        policy=policy,
        generations=generations,
        settling=Settling(config.restored, index, lives, recorder, endings),
    )
