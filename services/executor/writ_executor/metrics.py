"""Metrics of the executor: operations, stages, pools, look-ups, refusals and alarms.

Counters count the actions of this replica, so they are summed over replicas. Gauges show the whole installation as this
replica sees it, so any replica's will do.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import get_args

from writ_contracts.agents import LONGEST_QUEUE, NO_VIOLATIONS, Heartbeat, SecurityKind
from writ_contracts.decisions import Grant
from writ_contracts.inventory import Inventory
from writ_contracts.journal import Approved, AwaitingApproval, Dispatched, Granted, Outcome, Requested, Started
from writ_contracts.life import AcceptedLife, ControlLife, DispatchedLife, GrantedLife, Life, State
from writ_contracts.operations import Catalogue
from writ_contracts.registry import CHANNELS, Role
from writ_executor.journal.usage import Amount, Owner
from writ_executor.success_rate import SuccessRate
from writ_runtime.journal.security_events import security_counter
from writ_runtime.metric_series import POOLS, AtMost
from writ_runtime.metrics import Metrics

STAGES = ("decide", "wait", "claim", "grant", "run", "record", "whole")
QUEUES = ("waiting", "dispatched", "running")
LISTED = ("listed", "no_agent", "refused", "unusable")
TURNED_AWAY = ("rate_limited", "full", "too_many_open", "denied", "invalid")
Key = tuple[str, ...]
"""The labels of one series, in the order of their declaration."""
_WAITING = (State.REQUESTED, State.AWAITING_APPROVAL, State.APPROVED)


def metrics() -> Metrics:
    """Return metrics with one endpoint label for each message kind answered by an executor."""
    return Metrics([one.name for one in CHANNELS if Role.EXECUTOR in one.receivers])


class ExecutorMeasures:
    """All metrics of the executor."""

    def __init__(self, measured: Metrics, catalogue: Catalogue, clock: Callable[[], float]) -> None:
        """`clock`: the journal server's time."""
        self.pools = AtMost(POOLS)
        self.success = SuccessRate(clock)
        pool, operations = {"pool": self.pools}, {"operation": tuple(catalogue)}
        self._ended = measured.counter(
            "writ_operations_total",
            "Operations that ended (refused: without a pool; rejected: see policy). A resolved `unknown` counts again.",
            {"outcome": get_args(Outcome), **pool, **operations},
        )
        self._outcomes = measured.counter(
            "writ_outcomes_total",
            "Operations that ended, by outcome, each from 0 on; with unrecorded refusals. Policy counts rejected ones.",
            {"outcome": get_args(Outcome)},
        )
        self._stages = measured.histogram(
            "writ_operation_stage_seconds",
            "decide and grant: policy's answer; wait: until dispatched; claim: until started; run: until the end;"
            " whole: from request to end; record: one append to the journal.",
            {"stage": STAGES, **pool},
        )
        self._turned_away = measured.counter(
            "writ_requests_turned_away_total", "Requests refused without a record, by code.", {"code": TURNED_AWAY}
        )
        self._declare_quotas(measured)
        self._security = security_counter(measured)
        self._listings = measured.counter(
            "writ_listings_total", "Listings requested from agents for a decision.", {"result": LISTED}
        )
        self._lookups = measured.counter(
            "writ_index_lookups_total",
            "Look-ups of an operation: hit in the index of open and lately ended ones, miss read from the journal.",
            {"result": ("hit", "miss")},
        )
        self._gauges(measured)
        measured.measure(
            "writ_success_ratio",
            "Share that succeeded of the operations that ended within 5 minutes, without refusals; 1 if none.",
            self.success.ratio,
        )

    def _declare_quotas(self, measured: Metrics) -> None:
        quotas = {"owner": get_args(Owner), "amount": get_args(Amount)}
        self._exceeded = measured.counter(
            "writ_quota_refusals_total", "Requests refused since a principal or a pool has used its quota.", quotas
        )
        self._quotas = measured.gauge(
            "writ_quota_used_ratio", "Used share of a quota, of the principal or pool that used most of it.", quotas
        )

    def _gauges(self, measured: Metrics) -> None:
        pool = {"pool": self.pools}
        self._open = measured.gauge("writ_operations_open", "Operations that have not ended.")
        self._damaged = measured.gauge("writ_journal_damaged", "Events of the journal that cannot be decoded.")
        self._unstored = measured.gauge(
            "writ_journal_not_stored", "1 while NATS replies but stores nothing in some stream (disk full)."
        )
        self._fill = measured.gauge("writ_journal_fill_ratio", "Share of the journal that is used.")
        self._queued = measured.gauge(
            "writ_pool_operations",
            "Open operations: waiting (for target, limit or approval), dispatched (for an agent), running.",
            {**pool, "state": QUEUES},
        )
        self._oldest = measured.gauge(
            "writ_pool_oldest_dispatched_seconds",
            "How long the oldest of these operations has waited for an agent.",
            pool,
        )
        self._agents = measured.gauge(
            "writ_pool_agents",
            "Agents with a heartbeat within a lease, by pool with targets; `other`: the fewest of the remaining pools.",
            pool,
        )
        self._slots = measured.gauge("writ_pool_free_slots", "Operations that these agents could begin now.", pool)
        self._copied = measured.gauge(
            "writ_agent_keys_copied",
            "Keys of agents that more processes used at once, in the last ten minutes, than may use them.",
        )
        self._overdue = measured.gauge(
            "writ_operations_overdue",
            "Open operations past the deadline of their start or end: a read by more than 120 s, in which it may have "
            "waited its turn.",
        )

    def stage(self, stage: str, pool: str, operation_id: str) -> AbstractContextManager[None]:
        """Time the block, also if it fails."""
        return self._stages.time(operation_id, stage=stage, pool=pool)

    def recorded(self, before: Life, after: Life) -> None:
        """Count the event with which this replica turned one life into the other."""
        if after.end is not None and after.end is not before.end:
            pool = after.requested.pool if isinstance(after, AcceptedLife) else ""
            self._ended.add(outcome=after.outcome or "", pool=pool, operation=_operation(after))
            self._outcomes.add(outcome=after.outcome or "")
        if isinstance(after, AcceptedLife):
            self._time(before, after, after.requested)

    def granted(self, requested: Requested, dispatched: Dispatched, grant: Grant) -> None:
        """Count a start recorded by policy at this replica's request."""
        self._passed("claim", requested, dispatched.at, grant.granted_at)

    def _time(self, before: Life, after: AcceptedLife, requested: Requested) -> None:
        if isinstance(after, DispatchedLife) and not isinstance(before, DispatchedLife):
            self._passed("wait", requested, requested.at, after.dispatched.at)
        if after.end is None or before.end is not None:
            return
        if isinstance(after, GrantedLife | ControlLife):
            self._passed("run", requested, after.started.at, after.end.at)
        self._passed("whole", requested, requested.at, after.end.at)

    def _passed(self, stage: str, requested: Requested, since: float, until: float) -> None:
        """Time a stage between two measured times of one server, each with an error. A negative time counts as zero."""
        self._stages.observe(max(0.0, until - since), requested.operation_id, stage=stage, pool=requested.pool)

    def count_refusal(self, code: str) -> None:
        """Count a request without an event."""
        self._turned_away.add(code=code)

    def quota_exceeded(self, owner: str, amount: str) -> None:
        """Count a refusal by a quota."""
        self._exceeded.add(owner=owner, amount=amount)

    def see_copied_keys(self, count: int) -> None:
        """Set the number of agents' keys that were found copied in the last minutes."""
        self._copied.set(count)

    def see_quotas(self, used: Mapping[Key, float]) -> None:
        """Set the gauges of quotas, by owner and amount."""
        self._quotas.replace(used)

    def unrecorded(self, outcome: Outcome) -> None:
        """Count the outcome a request without an event would have had, if it got far enough."""
        self._outcomes.add(outcome=outcome)

    def alarmed(self, kind: SecurityKind) -> None:
        """Count a stored security event, if it is a violation."""
        if kind not in NO_VIOLATIONS:
            self._security.add(kind=kind)

    def listed(self, result: str) -> None:
        """Count the result of a listing, one of LISTED."""
        self._listings.add(result=result)

    def looked_up(self, *, hit: bool) -> None:
        """Count a lookup of an operation: from the index, or by reading the journal."""
        self._lookups.add(result="hit" if hit else "miss")

    def see(self, lives: Iterator[AcceptedLife], agents: Mapping[str, list[Heartbeat]], now: float) -> None:
        """Set the gauges of operations and pools. `agents` has every pool with targets."""
        queued, oldest = Counter[Key](), dict[Key, float]()
        counted, overdue = 0, 0
        for life in lives:
            counted += 1
            late = now - deadline_of(life)
            is_read = life.requested.risk == "read"
            overdue += late > (LONGEST_QUEUE if is_read and queue_of(life) == "running" else 0.0)
            pool = self.pools.named(life.requested.pool)
            queued[(pool, queue_of(life))] += 1
            if life.state is State.DISPATCHED:
                oldest[(pool,)] = max(oldest.get((pool,), 0.0), now - life.phase.at)
        self._open.set(counted)
        self._overdue.set(overdue)
        self._see_pools(agents, queued, oldest)

    def _see_pools(
        self, agents: Mapping[str, list[Heartbeat]], queued: Mapping[Key, float], oldest: Mapping[Key, float]
    ) -> None:
        present, slots = dict[Key, float](), Counter[Key]()
        for name, instances in agents.items():
            pool = self.pools.named(name)
            present[(pool,)] = min(len(instances), present.get((pool,), len(instances)))
            slots[(pool,)] += sum(one.free_slots for one in instances)
        none: dict[Key, float] = {(pool, state): 0.0 for (pool,) in present for state in QUEUES}
        self._queued.replace({**none, **queued})
        self._oldest.replace({**dict.fromkeys(present, 0.0), **oldest})
        self._agents.replace(present)
        self._slots.replace(slots)

    def see_journal(self, fill: float, damaged: int, *, stored: bool) -> None:
        """Set the gauges of the journal."""
        self._unstored.set(0.0 if stored else 1.0)
        self._fill.set(fill)
        self._damaged.set(damaged)


def queue_of(life: Life) -> str:
    """Return the queue of an open operation, one of QUEUES."""
    if life.state in _WAITING:
        return "waiting"
    return "dispatched" if life.state is State.DISPATCHED else "running"


def deadline_of(life: AcceptedLife) -> float:
    """Return the Unix time by which an open operation is due."""
    match life.phase:
        case Dispatched(start_by=until) | Granted(deadline=until) | Started(deadline=until):
            return until
        case Requested() | AwaitingApproval() | Approved():
            return life.requested.start_by


def pools_of(inventory: Inventory) -> list[str]:
    """Return the pools with targets."""
    return sorted({target.pool for target in inventory.targets})


def _operation(life: Life) -> str:
    what = life.what
    return what.operation if what else ""
