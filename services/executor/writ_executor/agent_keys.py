"""Which public keys may speak for which pool, from agents.yaml as it is now."""

from writ_contracts.inventory import Agents
from writ_runtime.watched import Watched


class AgentKeys:
    """By pool."""

    def __init__(self, agents: Watched[Agents]) -> None:
        self._agents = agents

    async def of(self, pool: str, key: str) -> frozenset[str]:
        """The keys of a pool; the file is looked at again if `key`, which somebody signed with, is not among them."""
        keys = self._now(pool)
        if key not in keys and await self._agents.refresh():
            keys = self._now(pool)
        return keys

    def _now(self, pool: str) -> frozenset[str]:
        return frozenset(item.key for item in self._agents.value.agents if item.pool == pool)
