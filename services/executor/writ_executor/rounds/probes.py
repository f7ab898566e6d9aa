"""Probes of operations whose agent is silent or whose outcome is unknown, less and less often."""

from collections.abc import Callable

from writ_contracts.journal import Requested
from writ_contracts.life import AcceptedLife, GrantedLife
from writ_contracts.operations import Catalogue
from writ_executor.agents.presence import AgentPresence
from writ_executor.journal.lines import changes
from writ_executor.steps.dispatch import Dispatcher
from writ_executor.steps.host_reads import HostReadRequests
from writ_executor.steps.overdue import RESOLVE_SECONDS, WaitingAge

PROBE_EVERY = 5.0


class DueProbes:
    """Has the target of a silent operation read by another agent of its pool."""

    def __init__(
        self,
        catalogue: Catalogue,
        presence: AgentPresence,
        dispatcher: Dispatcher,
        host_reads: HostReadRequests,
        clock: Callable[[], float],
    ) -> None:
        """`clock`: the boot clock."""
        self._catalogue = catalogue
        self._presence = presence
        self._dispatcher = dispatcher
        self._host_reads = host_reads
        self._clock = clock
        self._latest: dict[str, float] = {}

    async def take(self, life: AcceptedLife, age: WaitingAge) -> None:
        """Probe the operation, if it has a probe that is due."""
        requested = life.requested
        if not isinstance(life, GrantedLife) or not self._catalogue.find(requested.operation).probe:
            return
        now, operation_id = self._clock(), requested.operation_id
        pause = max(PROBE_EVERY, (age.before + age.observed) / 4)
        if now - self._latest.get(operation_id, -RESOLVE_SECONDS) < pause or not self._presence.agents(requested.pool):
            return
        self._latest = {key: at for key, at in self._latest.items() if now - at < RESOLVE_SECONDS}
        self._latest[operation_id] = now
        if await self._shows_its_effect(requested):
            await self._host_reads.probe(life, lambda: self._shows_its_effect(requested))

    async def _shows_its_effect(self, requested: Requested) -> bool:
        """Return whether the target's state can be this operation's effect: no later one has changed it."""
        return not changes(requested) or await self._dispatcher.is_last(requested)
