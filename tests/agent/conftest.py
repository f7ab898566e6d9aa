"""Agents on a memory bus, with a backend that records its calls and a scripted executor."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from msgspec import structs

from writ_agent.agent import Agent, AgentSettings
from writ_agent.backends.port import Backend, Progress, Task, TaskResult
from writ_agent.reporting import outbox
from writ_agent.reporting.receipts import AgentIdentity
from writ_agent.reporting.spool import Spool
from writ_agent.service import metrics, new_instance
from writ_agent.work import claims
from writ_bus.port import Bus
from writ_contracts.agents import Claim, ClaimReply
from writ_contracts.inventory import Target
from writ_contracts.operations import Catalogue
from writ_contracts.requests import Failure
from writ_contracts.signing import Signed
from writ_runtime.clocks import SYSTEM, Clocks
from writ_runtime.files.people_directory import KnownDirectory
from writ_runtime.files.state_file import StateFile
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.eventually import eventually
from writ_testing.fakes.backend import FakeBackend
from writ_testing.fakes.scripted_executor import Answering, DispatchedOperation, ScriptedExecutor
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_trust.keys import Key, generate_seed

POOL = "pool-1"
TARGET = Target(id="host-1", role="testing", backend="fake", agent=POOL)
SECRET = b"s" * 32
READ = "test_noop"
"""What `reader` lets agents read ahead."""


class World:
    """Hold the agent, bus and backend of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = Broker(ack_wait=1.0)
        self.catalogue: Catalogue = load_catalogue()
        self.executor = ScriptedExecutor(MemoryBus(self.broker), self.catalogue)
        self.backend = FakeBackend()
        self.key = Key(generate_seed())
        self.stack = AsyncExitStack()

    def bus(self) -> Bus:
        """Open another connection."""
        return MemoryBus(self.broker)

    async def agent(
        self,
        *,
        backend: Backend | None = None,
        pool: str = POOL,
        state: str = "state",
        slots: int = 8,
        waiting: int = 0,
        stop_grace: float = 0.3,
        clocks: Clocks = SYSTEM,
        people_keys: Collection[str] = (),
    ) -> Agent:
        """Start another agent, on a host with these clocks; it stops at the end of the test."""
        spool = self.stack.enter_context(Spool(self.folder / state, SECRET))
        agent = Agent(
            AgentSettings(
                version="0", slots=slots, waiting=waiting, heartbeat=0.3, kill_grace=0.3, stop_grace=stop_grace
            ),
            AgentIdentity(key=self.key, pool=pool, instance=new_instance()),
            frozenset({self.executor.key.public}),
            bus=self.bus(),
            backend=backend or self.backend,
            catalogue=self.catalogue,
            people=KnownDirectory(StateFile(self.folder / f"people-{state}.json", Signed), people_keys, ""),
            spool=spool,
            metrics=metrics(),
            clocks=clocks,
        )
        await agent.start()
        self.stack.push_async_callback(agent.stop)
        return agent

    def held(self, operation: str) -> asyncio.Event:
        """Let each operation run until this is set; it then succeeds."""
        go_on = asyncio.Event()

        async def wait(task: Task, progress: Progress) -> TaskResult:
            await go_on.wait()
            return TaskResult(outcome="succeeded", effect="none" if task.operation.read_only else "done")

        self.backend.scripts[operation] = wait
        return go_on


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(outbox, "LONGEST_PAUSE", 0.2)
    world = World(tmp_path)
    await world.executor.serve()
    async with world.stack:
        yield world


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let agents repeat unanswered claims soon, and give up soon."""
    monkeypatch.setattr(claims, "ASK_SECONDS", 0.2)
    monkeypatch.setattr(claims, "PATIENCE", 2.0)


async def until(true: Callable[[], bool]) -> None:
    """Wait until `true` returns true."""

    async def check() -> bool:
        return true()

    await eventually(check)


class Reader:
    """Number each reading of READ, which lasts until `go_on` is set."""

    def __init__(self, world: World) -> None:
        self.begun: list[Task] = []
        self.ended: list[int] = []
        self.go_on = asyncio.Event()
        world.backend.scripts[READ] = self._read

    async def _read(self, task: Task, progress: Progress) -> TaskResult:
        progress("reading")
        self.begun.append(task)
        number = len(self.begun)
        try:
            await self.go_on.wait()
        finally:
            self.ended.append(number)
        return TaskResult(outcome="succeeded", state={"reading": number})


@pytest.fixture
def reader(world: World) -> Reader:
    """Allow early reads of READ everywhere, and yield its backend."""
    known = [structs.replace(one, ahead=True) if one.name == READ else one for one in world.catalogue.values()]
    world.catalogue = world.executor.catalogue = Catalogue(known)
    return Reader(world)


def held(world: World, answer: Answering | None = None) -> asyncio.Event:
    """Claims are answered once this is set."""
    answered = asyncio.Event()
    then = answer or world.executor.answering

    async def wait(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply | None:
        await answered.wait()
        return await then(dispatched, claim, signed)

    world.executor.answering = wait
    return answered


async def gone(dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply:
    """Refuse the claim, as if another agent had it."""
    return ClaimReply(error=Failure(code="gone", message="too late"))
