"""Which agents are there, as their heartbeats tell. Soft state: every executor hears them all, for itself.

A replica that has just started gives everybody one full lease before it calls anyone silent. So does one that did not
listen for a while itself: it was suspended, stopped, or kept from running.
"""

from collections.abc import Callable, Iterable

from msgspec import Struct

from writ_contracts.agents import Heartbeat

ROUND, LONG_GAP = 1.0, 5.0
"""Seconds: what a round of the sweep may take on a busy machine, and what is no busy machine any more."""


class LastHeartbeat(Struct, frozen=True):
    """The latest heartbeat of an instance and when it came (boot clock, less what was missed)."""

    heartbeat: Heartbeat
    at: float


class Presence:
    """Instances by pool."""

    def __init__(self, lease: float, clock: Callable[[], float]) -> None:
        """`clock`: the boot clock."""
        self._lease = lease
        self._clock = clock
        self._missed = 0.0
        """Seconds in which this replica did not listen: they count as nobody's silence."""
        self._tidied = clock()
        self._began = self._now()
        self._latest: dict[tuple[str, str], LastHeartbeat] = {}
        self._running: dict[tuple[str, str], float] = {}
        """By pool too: what another pool says that it runs, it does not."""

    def _now(self) -> float:
        return self._clock() - self._missed

    def record(self, heartbeat: Heartbeat) -> None:
        """Take in one heartbeat."""
        now = self._now()
        key = (heartbeat.pool, heartbeat.instance)
        if heartbeat.leaving:
            self._latest.pop(key, None)
        else:
            self._latest[key] = LastHeartbeat(heartbeat, now)
        for operation_id in heartbeat.running:
            self._running[heartbeat.pool, operation_id] = now

    def silence(self, pool: str, operation_id: str) -> float:
        """Seconds since anybody of the pool said that it runs this, counted from when we began to listen at the
        earliest.
        """
        return self._now() - max(self._running.get((pool, operation_id), self._began), self._began)

    def forget_silent(self) -> None:
        """Forget what nobody has said for a lease: silent it is either way. Called at each round of the sweep: where
        the last one was longer ago than rounds are, nobody listened here meanwhile, and after a lease of that the lease
        of all begins anew.
        """
        now = self._clock()
        since, self._tidied = now - self._tidied, now
        self._missed += max(since - max(self._lease / 3, ROUND), 0.0)
        if since > max(self._lease, LONG_GAP):
            self._began = self._now()
        horizon = self._now() - self._lease
        self._running = {key: at for key, at in self._running.items() if at >= horizon}

    def start_lease(self, pool: str, operation_id: str) -> None:
        """It was granted just now: its lease begins."""
        self._running[pool, operation_id] = self._now()

    @property
    def new(self) -> bool:
        """Whether we have listened for less than a lease, so that silence says nothing yet."""
        return self._now() - self._began < self._lease

    def agents(self, pool: str) -> list[Heartbeat]:
        """The instances of a pool that were heard within a lease."""
        return [last.heartbeat for last in self._alive() if last.heartbeat.pool == pool]

    def all_agents(self) -> list[Heartbeat]:
        """The instances of all pools that were heard within a lease."""
        return [last.heartbeat for last in self._alive()]

    def agents_of(self, pools: Iterable[str]) -> dict[str, list[Heartbeat]]:
        """The same of each of these pools, all at once."""
        found: dict[str, list[Heartbeat]] = {pool: [] for pool in pools}
        for last in self._alive():
            if last.heartbeat.pool in found:
                found[last.heartbeat.pool].append(last.heartbeat)
        return found

    def forget(self, pool: str, operation_id: str) -> None:
        """It has ended."""
        self._running.pop((pool, operation_id), None)

    def _alive(self) -> list[LastHeartbeat]:
        horizon = self._now() - self._lease
        stale = [key for key, last in self._latest.items() if last.at < horizon]
        for key in stale:
            del self._latest[key]
        return list(self._latest.values())
