"""A small world in one process: a memory bus, a scripted policy, any number of executors, and a scripted requester."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import pytest
from msgspec import Raw, json, structs

from writ_contracts import subjects
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.history.records import Record
from writ_contracts.inventory import AgentKey, Agents, Inventory, Target
from writ_contracts.journal import Carried, Dispatched, JournalEvent
from writ_contracts.life import AcceptedLife, DispatchedLife, Life
from writ_contracts.operations import Catalogue
from writ_contracts.requests import RequestReply
from writ_contracts.signing import Signed
from writ_contracts.wire import decode, decode_event
from writ_executor.config import ExecutorConfig
from writ_executor.journal.follower import read_life
from writ_executor.journal.shared_keys import SharedKeys
from writ_executor.metrics import metrics
from writ_executor.service import Executor
from writ_runtime.clocks import SYSTEM, Clocks
from writ_runtime.files.watched_file import WatchedFile
from writ_runtime.metrics import Metrics
from writ_testing.fakes.scripted_agent import ScriptedAgent
from writ_testing.fakes.scripted_policy import ScriptedPolicy
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus
from writ_trust.parameter_keys import ParameterKeys

T = TypeVar("T")
POOL = "local-web-1"
WEB = Target(id="web-1", role="production", backend="local", file_roots=["/srv/app"])
SIGNED: dict[str, Any] = {"statement": Signed(key="U" * 56, payload=Raw(b"{}"), signature="x"), "salt": "ab" * 32}
"""A request with it is one that its principal signed; the scripted policy does not look."""
KEY = SharedKeys(ParameterKeys(used=(secrets.token_bytes(32),)))


class World:
    """Hold the executor, bus and agents of one test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = Broker(ack_wait=0.5)
        self.bus = MemoryBus(self.broker)
        self.catalogue = Catalogue(BUILT_IN)
        self.policy = ScriptedPolicy(self.catalogue, {"web-1": WEB})
        self.policy.lifetime = 0.0  # the scripted agent ignores it, and a silent operation is overdue soon
        self.hands = ScriptedAgent(self.bus, POOL)
        self.policy.agents = frozenset({self.hands.key.public})
        self.new_keys: list[str] = []
        """Further keys of the pool, as in the middle of a rotation."""
        self.targets = [WEB]
        self.executors: list[Executor] = []
        self.shared = KEY
        self._stack = AsyncExitStack()

    async def executor(self, measured: Metrics | None = None, clocks: Clocks = SYSTEM, **changed: Any) -> Executor:
        """Start another replica, on a host with these clocks."""
        config = structs.replace(
            ExecutorConfig(
                nats_url="memory",
                installation="",
                key_file=Path("none"),
                policy_key=self.policy.key.public,
                params_key_file=Path("none"),
                inventory=self.folder / "inventory",
                agents=self.folder / "agents",
                sweep=0.05,
                rate=10_000,
            ),
            **changed,
        )
        inventory, agents = (
            self._file("inventory", Inventory(targets=self.targets)),
            self._file("agents", self._agents()),
        )
        bus = MemoryBus(self.broker)
        one = Executor(config, bus, self.shared, self.catalogue, inventory, agents, measured or metrics(), clocks)
        await one.serve()
        running = asyncio.create_task(one.run())
        self._stack.push_async_callback(_end, one, running, bus)
        self.executors.append(one)
        return one

    def _agents(self) -> Agents:
        return Agents(agents=[AgentKey(pool=POOL, key=key) for key in (self.hands.key.public, *self.new_keys)])

    def _file(self, name: str, value: T) -> WatchedFile[T]:
        (self.folder / name).touch()
        return WatchedFile(self.folder / name, lambda _: value)

    async def ask(self, operation: str, principal: str = "alice", /, **wish: Any) -> RequestReply:
        """Send a request as a bare client would."""
        wish.setdefault("target", "web-1")
        return await self.ask_raw(subjects.request(principal, operation), json.encode(wish))

    async def ask_raw(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> RequestReply:
        message = await self.bus.request(subject, data, timeout=20, headers=headers)
        return decode(message.data, RequestReply)

    async def records(self, filter: str = "writ.journal.>") -> list[Record]:
        return await self.bus.journal.read(filter)

    async def events(self, filter: str = "writ.journal.>") -> list[JournalEvent | Carried]:
        return [decode_event(record.data) for record in await self.records(filter)]

    async def kinds(self, operation_id: str) -> list[str]:
        """The kinds of an operation's events, in order."""
        return [
            record.subject.split(".")[5] for record in await self.records(subjects.any_operation_filter(operation_id))
        ]

    async def life(self, operation_id: str, principal: str = "alice") -> Life:
        """Return the operation's life according to the journal."""
        return await read_life(self.bus, principal, operation_id)

    async def accepted(self, operation_id: str | None) -> AcceptedLife:
        """The life of an accepted operation of alice."""
        life = await self.life(operation_id or "")
        assert isinstance(life, AcceptedLife)
        return life

    async def work(self, operation_id: str) -> Dispatched:
        """Return its latest `dispatched`, once there is one."""

        async def check() -> Dispatched | None:
            life = await self.life(operation_id)
            return life.dispatched if isinstance(life, DispatchedLife) else None

        return await self.until(check)

    async def outcome(self, operation_id: str, principal: str = "alice") -> str:
        """Return its outcome, once it has one."""

        async def check() -> str | None:
            return (await self.life(operation_id, principal)).outcome

        return await self.until(check)

    async def until(self, check: Callable[[], Awaitable[T | None]]) -> T:
        """Return the first result of `check` that is not None; call it again after each event of the journal."""
        async with asyncio.timeout(30):
            found = await check()
            async for _ in self.bus.journal.tail(0):
                if found is not None:
                    return found
                found = await check()
                if found is not None:
                    return found
        raise AssertionError("the tail ended")

    async def close(self) -> None:
        await self._stack.aclose()
        await self.bus.close()


async def _end(executor: Executor, running: asyncio.Task[None], bus: MemoryBus) -> None:
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await executor.background.settle(grace=0.2)
    await bus.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A world with a policy, and no executor yet."""
    made = World(tmp_path)
    await made.policy.serve(made.bus)
    yield made
    await made.close()
