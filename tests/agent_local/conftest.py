"""Local agents as real processes, with a scripted executor."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from writ_contracts.inventory import Target
from writ_testing.installations.agent_processes import AgentInstallation, AgentProcess, agent_installation

POOLS = ("local-a", "local-b")


class Installation:
    """The installation, and targets on this host."""

    def __init__(self, installation: AgentInstallation) -> None:
        self.installation = installation
        self.folder, self.server, self.executor = installation.folder, installation.server, installation.executor

    def target(self, pool: str = "local-a") -> Target:
        """A target of the pool, with a folder to work in."""
        root = self.folder / "root"
        root.mkdir(exist_ok=True)
        return Target(id=f"t-{pool}", role="testing", backend="local", agent=pool, file_roots=[str(root)])

    async def agent(self, pool: str = "local-a", **environ: str) -> AgentProcess:
        """Start another process of the pool's agent."""
        return await self.installation.agent(pool, **environ)


@pytest.fixture
async def installation(tmp_path: Path) -> AsyncIterator[Installation]:
    async with agent_installation(tmp_path, "writ_agent_local", POOLS) as installation:
        yield Installation(installation)
