"""The executor put together: every part is given what it needs, in the order in which they need each other."""

from dataclasses import dataclass

from writ_bus.port import Bus
from writ_contracts.inventory import Agents, Inventory
from writ_contracts.operations import Catalogue
from writ_executor.admission import Admission
from writ_executor.agent_keys import AgentKeys
from writ_executor.alarms import Alarms
from writ_executor.cancels import Cancels
from writ_executor.chores import Chores
from writ_executor.claims import Claims
from writ_executor.config import Config
from writ_executor.control import Controls
from writ_executor.dispatch import Dispatcher
from writ_executor.endings import Endings
from writ_executor.flood import Buckets
from writ_executor.follower import Follower
from writ_executor.index import Index
from writ_executor.intake import Intake
from writ_executor.lives import Lives
from writ_executor.looks import Looks
from writ_executor.policy_client import PolicyClient
from writ_executor.presence import Presence
from writ_executor.queries import Queries
from writ_executor.receipts import Receipts
from writ_executor.recorder import Recorder
from writ_executor.sweep import Sweep
from writ_executor.targets import Targets
from writ_executor.vault import Vault
from writ_executor.work import Work
from writ_runtime.metrics import Counter
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


def compose(
    config: Config,
    bus: Bus,
    key: bytes,
    catalogue: Catalogue,
    inventory: Watched[Inventory],
    agents: Watched[Agents],
    outcomes: Counter,
) -> Parts:
    """All of them over one bus; nothing runs yet."""
    index, chores, presence = Index(), Chores(), Presence(config.lease)
    follower, recorder = Follower(bus, index, key), Recorder(bus.journal, index)
    lives, vault, policy = Lives(bus, index), Vault(bus, key), PolicyClient(bus, config.policy_key)
    targets, keys = Targets(inventory, catalogue, presence), AgentKeys(agents)
    alarms = Alarms(recorder)
    admission = Admission(config, bus, index, recorder)
    dispatcher = Dispatcher(bus, recorder, index, follower, config.start_window)
    endings = Endings(recorder, vault, dispatcher, presence, chores, outcomes)
    looks, cancels = Looks(bus, catalogue, index, vault, policy, endings), Cancels(bus)
    controls = Controls(recorder, lives, vault, endings, cancels)
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
        claims=Claims(bus, index, catalogue, keys, lives, recorder, vault, policy, endings, presence, alarms),
        receipts=Receipts(keys, lives, recorder, vault, dispatcher, endings, alarms),
        queries=Queries(catalogue, index, lives, targets, vault, policy, work, Buckets(config.rate, config.burst)),
    )
