"""The public keys of each pool's agents, from the present agents.yaml."""

from writ_contracts.installation.agent_hosts import hosts_of
from writ_contracts.inventory import Agents
from writ_runtime.files.watched_file import WatchedFile


class AgentKeys:
    """The agents' public keys by pool."""

    def __init__(self, agents: WatchedFile[Agents]) -> None:
        self._agents = agents
        self._known: Agents | None = None
        self._by_pool: dict[str, frozenset[str]] = {}
        self.hosts: dict[str, str] = {}
        """By key: the host from which alone it may claim, as of the last `of`."""

    async def of(self, pool: str) -> frozenset[str]:
        """Return the keys of a pool in the present file."""
        await self._agents.refresh()
        if self._known is not self._agents.value:
            self._known = self._agents.value
            self.hosts = hosts_of(self._known)
            pools = {item.pool for item in self._known.agents}
            self._by_pool = {
                one: frozenset(item.key for item in self._known.agents if item.pool == one) for one in pools
            }
        return self._by_pool.get(pool, frozenset())
