"""Local agents as real processes; the executor does as it is told."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from writ_contracts.inventory import Target
from writ_testing.installations.agent_processes import AgentHouse, AgentProcess, agent_house

POOLS = ("local-a", "local-b")


class House:
    """The house, and targets on this host."""

    def __init__(self, house: AgentHouse) -> None:
        self.house = house
        self.folder, self.server, self.executor = house.folder, house.server, house.executor

    def target(self, pool: str = "local-a") -> Target:
        """A target of the pool, with a folder to work in."""
        root = self.folder / "root"
        root.mkdir(exist_ok=True)
        return Target(id=f"t-{pool}", role="testing", backend="local", agent=pool, file_roots=[str(root)])

    async def agent(self, pool: str = "local-a", **environ: str) -> AgentProcess:
        """Another process of the pool's agent."""
        return await self.house.agent(pool, **environ)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with agent_house(tmp_path, "writ_agent_local", POOLS) as house:
        yield House(house)
