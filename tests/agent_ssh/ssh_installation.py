"""SSH agents as processes on a real sshd, with a scripted executor."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from writ_contracts.inventory import Target
from writ_hostops import processes
from writ_testing.installations.agent_processes import AgentInstallation, AgentProcess, agent_installation
from writ_testing.peers.sshd import Sshd, sshd
from writ_testing.search import contents

POOL = "ssh"


class Installation:
    def __init__(self, installation: AgentInstallation, server: Sshd) -> None:
        self.installation, self.server, self.executor = installation, server, installation.executor
        self.root = server.folder / "root"
        self.root.mkdir()
        self.counted = self.root / "counted"

    def target(self) -> Target:
        return self.server.target(file_roots=[str(self.root)])

    async def agent(self, **environ: str) -> AgentProcess:
        """Start another process of the agent."""
        return await self.installation.agent(POOL, **environ)

    def effects(self) -> list[str]:
        """The ids of the operations whose effect is there."""
        return self.counted.read_text().splitlines() if self.counted.exists() else []

    async def idle(self, operation_id: str) -> bool:
        """Return true if the host runs no part of it any more."""
        mark = self.server.host_folder / "marks" / f"{operation_id}.1.begun"
        if not mark.exists():
            return True
        begun = contents(mark)  # nothing while it is being written
        return bool(begun) and not processes.alive(json.loads(begun).get("process", {}))


@asynccontextmanager
async def ssh_installation(
    folder: Path, *options: str, environ: Sequence[tuple[str, str]] = ()
) -> AsyncIterator[Installation]:
    """`environ`: of every agent, besides its keys and known hosts."""
    async with sshd(folder / "host", *options) as server:
        own = {"WRIT_SSH_KEYS": str(server.keys), "WRIT_SSH_KNOWN_HOSTS": str(server.known_hosts)}
        async with agent_installation(folder, "writ_agent_ssh", [POOL], {**own, **dict(environ)}) as installation:
            yield Installation(installation, server)
