"""The checks of an executor's `/readyz`. What they say of agents and outcomes leaves the executor ready."""

from writ_contracts.bounds import first_names
from writ_contracts.life import AcceptedLife
from writ_contracts.plugins import digests_of
from writ_contracts.plural import plural
from writ_contracts.version import LEVEL
from writ_executor.agents.presence import other_builds, other_levels, other_policy_keys
from writ_executor.foundation import Foundation
from writ_executor.metrics import deadline_of, pools_of, queue_of
from writ_executor.policy.people_notices import PeopleNotices
from writ_executor.sightings import phase_stored
from writ_runtime.clocks import describe
from writ_runtime.durations import span
from writ_runtime.health import Attention, Check, Detail

LONG = 30.0
"""Seconds after which an operation that does not run is named."""
NAMED = 10
"""Pools or agents named in one line."""


class ExecutorReadiness:
    """The checks by name."""

    def __init__(self, base: Foundation, people: PeopleNotices) -> None:
        self._base, self._people = base, people
        self._presence, self._plugins = base.presence, digests_of(base.catalogue.plugins)

    def checks(self) -> dict[str, Check]:
        """Return the checks by name."""
        return {
            "bus": self._bus,
            "journal": self._journal,
            "inventory": self._files,
            "pools": self._pools,
            "success": self._success,
            "operations": self._operations,
            "audit": self._audit,
            "decisions": self._decisions,
            "clock": self._base.time.check,
            "agent_clocks": self._agent_clocks,
            "agent_plugins": self._agent_plugins,
            "levels": self._levels,
            "policy_keys": self._policy_keys,
            "agent_keys": self._agent_keys,
            "agent_people": self._agent_people,
        }

    async def _bus(self) -> str | None:
        return None if self._base.bus.connected else "not connected to NATS"

    async def _journal(self) -> str | None:
        base = self._base
        if problem := base.bus.storage_problem or base.guard.problem:
            return problem
        last = (await base.bus.journal.usage()).last_sequence
        if not await base.follower.reached(last, timeout=1.0):
            return f"{plural(last - base.index.sequence, 'event')} behind the journal"
        if base.admission.fill >= 1:
            return f"the journal is {base.admission.fill:.0%} full"
        return _attention(base.admission.full() or base.follower.misled)

    async def _files(self) -> str | None:
        problem = self._base.inventory.problem or self._base.agents.problem
        return _attention(problem and f"the last good version is in force: {problem}")

    async def _pools(self) -> str | None:
        agents = self._presence.agents_of(pools_of(self._base.inventory.value))
        silent = [pool for pool, instances in agents.items() if not instances]
        return None if self._presence.new else _named("no agent of pool", silent)

    async def _success(self) -> str | None:
        return _attention(self._base.measures.success.problem())

    async def _operations(self) -> Detail | None:
        """Return how many operations wait long for a lock, an agent or an approval, or are overdue, and the oldest.

        Only its id is named: `/readyz` replies to anybody who reaches it.
        """
        now = self._base.time.now()
        ages = [(_lateness(life, now), life) for life in self._base.index.open()]
        late = [(age, queue_of(life) == "running", life) for age, life in ages if age is not None]
        if not late:
            return None
        overdue = sum(runs for _, runs, _ in late)
        counts = {"not running": len(late) - overdue, "overdue": overdue}
        many = " and ".join(f"{plural(count, 'operation')} {how}" for how, count in counts.items() if count)
        age, _, oldest = max(late, key=lambda one: one[0])
        return Detail(f"{many}, the oldest for {span(age)}: {oldest.requested.operation_id}")

    async def _audit(self) -> str | None:
        return _attention(self._base.audit_services.problem())

    async def _decisions(self) -> str | None:
        return _attention(self._base.policy.problem())

    async def _agent_clocks(self) -> str | None:
        skewed = ((agent.instance, agent.skew) for agent in self._presence.all_agents() if agent.skew is not None)
        named = [f"{instance} {describe(skew)} the NATS server's" for instance, skew in skewed]
        return _named("clocks of agents' hosts:", named)

    async def _agent_plugins(self) -> str | None:
        others = other_builds(self._presence.all_agents(), self._plugins)
        return _named("agents with another build of a plugin than this executor:", others)

    async def _levels(self) -> str | None:
        agents = {agent.instance: agent.level for agent in self._presence.all_agents()}
        others = other_levels({**agents, **self._base.audit_services.levels()})
        return _named(f"read messages of another level than this executor ({LEVEL}):", others)

    async def _policy_keys(self) -> str | None:
        others = other_policy_keys(self._presence.all_agents(), self._base.policy_keys)
        return _named("agents with other keys of policy:", others)

    async def _agent_keys(self) -> str | None:
        return _attention(self._base.key_use.problem())

    async def _agent_people(self) -> str | None:
        return _named("newer versions of people's credentials than policy's:", sorted(self._people.ahead))


def _lateness(life: AcceptedLife, now: float) -> float | None:
    """Return for how long an operation has been overdue, or waited in its present state; None if that is not long."""
    if queue_of(life) == "running":
        overdue = now - deadline_of(life)
        return overdue if overdue > 0 else None
    waited = now - stored if (stored := phase_stored(life)) else 0.0
    return waited if waited > LONG else None


def _named(what: str, names: list[str]) -> Attention | None:
    return Attention(f"{what} {first_names(names, NAMED)}") if names else None


def _attention(problem: str | None) -> Attention | None:
    return Attention(problem[:1000]) if problem else None
