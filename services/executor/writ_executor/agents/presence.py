"""The living agents, by their heartbeats. Soft state: every executor receives all of them.

A new replica gives every agent one full lease before it counts as silent. So does a replica which did not listen for a
while: it was suspended, stopped, or starved of CPU.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from msgspec import Struct

from writ_contracts.agents import Heartbeat
from writ_contracts.plugins import PluginDigests
from writ_contracts.target_tests import SurveyedTarget
from writ_contracts.version import LEVEL
from writ_runtime.logs import Log
from writ_runtime.sender_warnings import SenderWarnings

MOST_INSTANCES, MOST_RUNNING = 256, 20_000
"""Instances and operations of one pool. Heartbeats are unsigned: a stolen key of a pool must not fill the memory."""
ROUND, LONG_GAP = 1.0, 5.0
"""Seconds: the longest round of the sweep on a busy machine, and a gap too long for a busy machine."""
LEAST_NOTABLE = 2.0

_log = Log("writ.executor")


class LastHeartbeat(Struct, frozen=True):
    """The latest heartbeat of an instance and its arrival (boot clock, minus missed time)."""

    heartbeat: Heartbeat
    at: float
    tested: Mapping[str, SurveyedTarget]


def other_builds(agents: Iterable[Heartbeat], own: PluginDigests) -> list[str]:
    """Return the agents with another build of a plugin than `own`, each with the plugins' names."""
    found = []
    for agent in agents:
        names = [name for name, digest in agent.plugins.items() if own.get(name, digest) != digest]
        found += [f"{agent.instance} ({', '.join(sorted(names))})"] if names else []
    return found


def other_levels(heard: Mapping[str, int]) -> list[str]:
    """Return the instances that read messages up to another level than this executor, each with its level."""
    return [f"{instance} ({level})" for instance, level in sorted(heard.items()) if level != LEVEL]


def other_policy_keys(agents: Iterable[Heartbeat], live: Collection[str]) -> list[str]:
    """Return the agents that obey a key of policy which counts no more, or do not know one that does."""
    found = []
    for agent in agents:
        old = [key for key in agent.trusts if key not in live]
        new = [key for key in live if key not in agent.trusts]
        if agent.trusts and (old or new):
            words = [f"still trusts {key[:12]}" for key in old] + [f"does not know {key[:12]}" for key in new]
            found.append(f"{agent.instance} of pool {agent.pool} {' and '.join(words)}")
    return sorted(found)


class AgentPresence:
    """Agent instances by pool."""

    def __init__(self, lease: float, clock: Callable[[], float]) -> None:
        """`clock`: the boot clock."""
        self._lease = lease
        self._clock = clock
        self._warnings = SenderWarnings(_log)
        self._missed = 0.0
        """Seconds in which this replica did not listen. They count as silence of nobody."""
        self._tidied = clock()
        self._began = self._now()
        self._latest: dict[str, dict[str, LastHeartbeat]] = defaultdict(dict)
        self._running: dict[str, dict[str, float]] = defaultdict(dict)
        """By pool too: an operation named by another pool's agent does not count."""

    def _now(self) -> float:
        return self._clock() - self._missed

    def record(self, heartbeat: Heartbeat) -> None:
        now = self._now()
        pool, instance = heartbeat.pool, heartbeat.instance
        if heartbeat.leaving:
            self._latest[pool].pop(instance, None)
        elif instance in self._latest[pool] or len(self.agents(pool)) < MOST_INSTANCES:
            self._latest[pool][instance] = LastHeartbeat(heartbeat, now, {one.target: one for one in heartbeat.tested})
        else:
            self._warnings.warning("presence.too_many_instances", pool, instance=instance)
        self._name(heartbeat.pool, heartbeat.running, now)

    def _name(self, pool: str, running: Iterable[str], now: float) -> None:
        """Record the operations named by an instance, known ones first."""
        named = self._running[pool]
        for operation_id in sorted(running, key=named.__contains__, reverse=True):
            if operation_id in named or len(named) < MOST_RUNNING:
                named[operation_id] = now

    def silence(self, pool: str, operation_id: str) -> float:
        """Return the seconds since an agent of the pool last named this operation, counted at most from the start of
        listening.
        """
        return self._now() - max(self._running[pool].get(operation_id, self._began), self._began)

    @property
    def notable_silence(self) -> float:
        """Return the seconds after which a silent agent is reported to those who wait: it missed a heartbeat."""
        return max(self._lease / 2, LEAST_NOTABLE)

    def shortest_silence(self, pool: str) -> float:
        """Return the seconds since the last heartbeat of the pool's agents heard within a lease; 0 without any."""
        return self._now() - max((last.at for last in self._alive(pool)), default=self._now())

    def least_silence(self, pool: str, operation_id: str) -> float:
        """Return the seconds for which no agent of the pool has certainly named this operation: a lease at most, unless
        the last heartbeat that named it is remembered.
        """
        silence = self.silence(pool, operation_id)
        return silence if operation_id in self._running[pool] else min(silence, self._lease)

    def forget_silent(self) -> None:
        """Forget operations not named for a lease: they count as silent either way.

        Called at each round of the sweep. If the last call is older than a round, this replica did not listen
        meanwhile; after a gap of a lease, every lease begins again.
        """
        now = self._clock()
        since, self._tidied = now - self._tidied, now
        self._missed += max(since - max(self._lease / 3, ROUND), 0.0)
        if since > max(self._lease, LONG_GAP):
            self._began = self._now()
        horizon = self._now() - self._lease
        for pool, named in list(self._running.items()):
            fresh = {name: at for name, at in named.items() if at >= horizon}
            if fresh:
                self._running[pool] = fresh
            else:
                del self._running[pool]

    def start_lease(self, pool: str, operation_id: str) -> None:
        """Begin the lease of an operation granted just now."""
        self._running[pool][operation_id] = self._now()

    @property
    def new(self) -> bool:
        """Return True while this replica has listened for less than a lease, so silence is not conclusive."""
        return self._now() - self._began < self._lease

    def agents(self, pool: str) -> list[Heartbeat]:
        """Return the instances of a pool with a heartbeat within a lease."""
        return [last.heartbeat for last in self._alive(pool)]

    def tests_of(self, pool: str, target: str) -> Iterator[tuple[Heartbeat, SurveyedTarget, float]]:
        """Yield the last test of the target by each live agent of the pool, its heartbeat, and the seconds since."""
        for last in self._alive(pool):
            if (test := last.tested.get(target)) is not None:
                yield last.heartbeat, test, max(test.age, 0.0) + self._now() - last.at

    def all_agents(self) -> list[Heartbeat]:
        """Return the instances of all pools with a heartbeat within a lease."""
        return [last.heartbeat for pool in tuple(self._latest) for last in self._alive(pool)]

    def agents_of(self, pools: Iterable[str]) -> dict[str, list[Heartbeat]]:
        """Return the live agents of each of these pools at once."""
        return {pool: self.agents(pool) for pool in pools}

    def forget(self, pool: str, operation_id: str) -> None:
        self._running[pool].pop(operation_id, None)

    def _alive(self, pool: str) -> list[LastHeartbeat]:
        horizon, latest = self._now() - self._lease, self._latest.get(pool, {})
        stale = [instance for instance, last in latest.items() if last.at < horizon]
        for instance in stale:
            del latest[instance]
        if not latest:
            self._latest.pop(pool, None)
        return list(latest.values())
