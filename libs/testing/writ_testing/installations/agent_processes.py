"""Agents as real processes, on a real nats-server with its permissions, and with a scripted executor."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.fakes.scripted_executor import ScriptedExecutor
from writ_testing.installations.commands import start_service
from writ_testing.installations.forked_process import ForkedProcess
from writ_testing.peers.nats_server import INSTALLATION, WritServer, writ_server


class AgentInstallation:
    """A server, an executor, and agents by pool. `module` is the agent process's module, `environ` its environment."""

    def __init__(
        self, folder: Path, server: WritServer, executor: ScriptedExecutor, module: str, environ: Mapping[str, str]
    ) -> None:
        self.folder, self.server, self.executor = folder, server, executor
        self.agents: list[AgentProcess] = []
        self._module, self._environ = module, environ
        self._numbers = count(1)

    async def agent(self, pool: str, **environ: str) -> "AgentProcess":
        """Start another process of the pool's agent. It is ready when the executor has its heartbeat."""
        beats = self.executor.heartbeats
        before = {beat.instance for beat in beats}
        agent = await self.process(pool, **environ)
        await self.executor.until(lambda: any(beat.pool == pool and beat.instance not in before for beat in beats))
        return agent

    async def quiet(self, operation_id: str) -> None:
        """Wait until the last heartbeat no longer names that operation."""
        beats = self.executor.heartbeats
        await self.executor.until(lambda: operation_id not in beats[-1].running)

    async def process(self, pool: str, **environ: str) -> "AgentProcess":
        """Start a process without waiting for it."""
        seed = self.folder / f"{pool}.seed"
        seed.write_bytes(self.server.keys[f"agent-{pool}"].seed)
        seed.chmod(0o600)
        settings = {
            "PATH": os.environ["PATH"],
            "NATS_URL": self.server.url,
            "WRIT_HOME": str(self.folder / "home"),
            "WRIT_KEY_FILE": str(seed),
            "WRIT_POOL": pool,
            "WRIT_POLICY_KEY": self.executor.key.public,
            "WRIT_INSTALLATION": INSTALLATION,
            "WRIT_STATE_DIR": str(self.folder / f"state-{pool}"),
            "WRIT_HEARTBEAT": "0.5",
            "WRIT_KILL_GRACE": "1",
            "WRIT_STOP_GRACE": "1",
            "WRIT_LOG_FORMAT": "json",
        }
        path = self.folder / f"agent-{next(self._numbers)}.log"
        with path.open("wb") as log:
            process = await start_service(self._module, {**settings, **self._environ, **environ}, log)
        agent = AgentProcess(process, path)
        self.agents.append(agent)
        return agent


class AgentProcess:
    """One process, and the file with its log."""

    def __init__(self, process: Process | ForkedProcess, path: Path) -> None:
        self.process = process
        self._path = path

    @property
    def log(self) -> bytes:
        """Return what the process has logged by now."""
        return self._path.read_bytes()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop the process. Return its exit status."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for the end. Return the exit status."""
        return await asyncio.wait_for(self.process.wait(), 30)


@asynccontextmanager
async def agent_installation(
    folder: Path, module: str, pools: Sequence[str], environ: Mapping[str, str] | None = None
) -> AsyncIterator[AgentInstallation]:
    """Yield an installation whose agents end with the block."""
    async with writ_server(folder, pools=tuple(pools)) as server:
        executor = ScriptedExecutor(await server.bus("executor"), load_catalogue(), INSTALLATION)
        await executor.serve()
        installation = AgentInstallation(folder, server, executor, module, environ or {})
        try:
            yield installation
        finally:
            for agent in installation.agents:
                await agent.stop(signal.SIGKILL)
