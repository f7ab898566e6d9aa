"""Local agents as real processes, on a real nats-server with its permissions; the executor does as it is told."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from writ_contracts.inventory import Target
from writ_runtime.plugins import load_catalogue
from writ_testing.nats_server import WritServer, writ_server
from writ_testing.scripted_executor import ScriptedExecutor

POOLS = ("local-a", "local-b")


class House:
    """A server, an executor, and agents by pool."""

    def __init__(self, folder: Path, server: WritServer, executor: ScriptedExecutor) -> None:
        self.folder = folder
        self.server = server
        self.executor = executor
        self.agents: list[LocalAgent] = []

    def target(self, pool: str = "local-a") -> Target:
        """A target of the pool, with a folder to work in."""
        root = self.folder / "root"
        root.mkdir(exist_ok=True)
        return Target(id=f"t-{pool}", role="testing", backend="local", agent=pool, file_roots=[str(root)])

    async def agent(self, pool: str = "local-a", **environ: str) -> "LocalAgent":
        """Another process of the pool's agent; it is ready when the executor has heard of it."""
        beats = self.executor.heartbeats
        before = {beat.instance for beat in beats}
        agent = LocalAgent(await self._start(pool, environ))
        self.agents.append(agent)
        await self.executor.until(lambda: any(beat.pool == pool and beat.instance not in before for beat in beats))
        return agent

    async def _start(self, pool: str, environ: dict[str, str]) -> Process:
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
            "WRIT_STATE_DIR": str(self.folder / f"state-{pool}"),
            "WRIT_HEARTBEAT": "0.5",
            "WRIT_KILL_GRACE": "1",
            "WRIT_STOP_GRACE": "1",
            "WRIT_LOG_FORMAT": "json",
        }
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "writ_agent_local", env={**settings, **environ}, stderr=PIPE, limit=1 << 20
        )


class LocalAgent:
    """One process. Its log is kept in `log`."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.log = bytearray()
        self._reading = asyncio.create_task(self._read())

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Its exit status, once it has one."""
        async with asyncio.timeout(30):
            await self.process.wait()
            await self._reading
        return self.process.returncode or 0

    async def _read(self) -> None:
        while self.process.stderr is not None and (piece := await self.process.stderr.read(65536)):
            self.log += piece


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with writ_server(tmp_path, pools=POOLS) as server:
        executor = ScriptedExecutor(await server.bus("executor"), load_catalogue())
        await executor.serve()
        house = House(tmp_path, server, executor)
        try:
            yield house
        finally:
            for agent in house.agents:
                await agent.stop(signal.SIGKILL)
