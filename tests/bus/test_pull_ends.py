"""Ends of a pull on real servers: what NATS delivers to a worker that has gone reaches another one soon.

In a cluster NATS keeps the pull request of a process that has ended, if the process was connected to another server
than the leader of the consumer.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from writ_bus.nats import pull
from writ_bus.nats.bus import NatsBus, connect
from writ_bus.nats.jetstream import call
from writ_bus.nats.pull import PullWorker
from writ_bus.port import Delivery
from writ_contracts.subjects import JOURNAL_STREAM, consumer
from writ_documents.readers import read_agents
from writ_installation.files.home import Home
from writ_installation.nats.stream_sizes import sizes
from writ_installation.server_access.server_options import options_of
from writ_nats_server.streams import provision
from writ_testing.eventually import eventually
from writ_testing.installations.installation import prepare
from writ_testing.peers.nats_cluster import Cluster, ClusterNode, cluster_for
from writ_testing.peers.nats_server import writ_server
from writ_testing.stopwatch import stopwatch
from writ_testing.suites.work import DURABLE, STREAM, dispatch

pytestmark = pytest.mark.timeout(120)
NEVER = 100.0
"""Seconds of an ack wait that no test waits for."""


class PoolOnCluster:
    """Workers of one pool on a cluster; the deliveries that they acked."""

    def __init__(self, home: Home, cluster: Cluster) -> None:
        self._home, self._cluster = home, cluster
        (agent,) = read_agents(home.agents).agents
        self.pool = agent.pool
        self.acked: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        """Sequence and attempt."""
        self._buses: list[NatsBus] = []

    async def connect(self, role: str, node: ClusterNode) -> NatsBus:
        bus = await connect(options_of(self._home, role, f"nats://127.0.0.1:{node.port}", None))
        self._buses.append(bus)
        return bus

    async def provision(self, **options: Any) -> None:
        bus = await self.connect("bootstrap", self._cluster.nodes[0])
        await provision(bus, [self.pool], sizes(self._home), **options)

    async def other_than_leader(self) -> ClusterNode:
        bus = await self.connect("bootstrap", self._cluster.nodes[0])
        info = await call(bus.replies, f"CONSUMER.INFO.{JOURNAL_STREAM}.{consumer(self.pool)}", {})
        return next(node for node in self._cluster.nodes if node.name != info["cluster"]["leader"])

    async def worker(self, node: ClusterNode, slots: int = 1) -> tuple[NatsBus, PullWorker]:
        """Return a worker on this server, once its request has reached the consumer."""
        bus = await self.connect(f"agent-{self.pool}", node)
        await bus.server_time(timeout=10.0)
        worker = await bus.pull(consumer(self.pool), JOURNAL_STREAM, self._ack, slots=slots)
        await eventually(self._waits_for_work, what="a pull request at the consumer")
        return bus, worker

    async def _waits_for_work(self) -> bool:
        bus = await self.connect("bootstrap", self._cluster.nodes[0])
        info = await call(bus.replies, f"CONSUMER.INFO.{JOURNAL_STREAM}.{consumer(self.pool)}", {})
        return bool(info["num_waiting"])

    async def _ack(self, delivery: Delivery) -> None:
        await delivery.ack()
        self.acked.put_nowait((delivery.sequence, delivery.attempt))

    async def close(self) -> None:
        await asyncio.gather(*(bus.close() for bus in self._buses))


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[PoolOnCluster]:
    home = prepare(tmp_path)
    async with cluster_for(home, tmp_path) as cluster:
        pool = PoolOnCluster(home, cluster)
        yield pool
        await pool.close()


@pytest.mark.exhaustive
async def test_closed_worker_takes_no_delivery_from_its_successor(pool: PoolOnCluster) -> None:
    await pool.provision(ack_wait=NEVER)
    node = await pool.other_than_leader()
    executor = await pool.connect("executor", node)
    for number in range(2):
        first, worker = await pool.worker(node)
        await worker.close()
        await first.drain(2.0)
        successor, _ = await pool.worker(node)
        sequence = await dispatch(executor, number, pool=pool.pool)
        assert await asyncio.wait_for(pool.acked.get(), 30.0) == (sequence, 1)
        await successor.drain(2.0)


@pytest.mark.exhaustive
async def test_closing_worker_returns_what_nats_still_delivers(pool: PoolOnCluster) -> None:
    await pool.provision(ack_wait=NEVER)
    node = await pool.other_than_leader()
    executor = await pool.connect("executor", node)
    _, closing = await pool.worker(node, slots=8)
    closed = asyncio.create_task(closing.close())
    await pool.worker(node, slots=8)
    sent = [await dispatch(executor, number, pool=pool.pool) for number in range(4)]
    async with asyncio.timeout(30.0):
        assert sorted([(await pool.acked.get())[0] for _ in sent]) == sent
        await closed


@pytest.mark.exhaustive
async def test_delivery_to_a_worker_that_was_killed_comes_again_within_seconds(pool: PoolOnCluster) -> None:
    await pool.provision()
    node = await pool.other_than_leader()
    executor = await pool.connect("executor", node)
    killed, _ = await pool.worker(node)
    await killed.close()  # as a kill does, it ends the connection and says nothing to the consumer
    await pool.worker(node)
    sequence = await dispatch(executor, 1, pool=pool.pool)
    with stopwatch() as seconds:
        assert (await asyncio.wait_for(pool.acked.get(), 60.0))[0] == sequence
        assert seconds() < 9.0  # on an idle machine two, and formerly ten or more


async def test_delivery_is_kept_from_others_until_it_is_settled(tmp_path: Path) -> None:
    async with writ_server(tmp_path, ack_wait=4.0) as server:
        executor, agent = await server.bus("executor"), await server.bus("agent-a")
        attempts, done = asyncio.Queue[int](), asyncio.Event()
        passed_on = set[asyncio.Task[None]]()

        async def work(delivery: Delivery) -> None:
            attempts.put_nowait(delivery.attempt)
            await done.wait()
            await delivery.ack()

        async def pass_on(delivery: Delivery) -> None:
            passed_on.add(asyncio.create_task(work(delivery)))

        await agent.pull(DURABLE, STREAM, work, slots=1)
        await dispatch(executor, 1)
        assert await asyncio.wait_for(attempts.get(), 30.0) == 1
        await agent.pull(DURABLE, STREAM, pass_on, slots=2)
        await dispatch(executor, 2)
        assert await asyncio.wait_for(attempts.get(), 30.0) == 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(attempts.get(), 7.0)
        done.set()
        await asyncio.gather(*passed_on)


async def test_delivery_whose_handler_hangs_comes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull, "CONFIRMED_FOR", 1.0)
    async with writ_server(tmp_path, ack_wait=2.0) as server:
        executor, agent = await server.bus("executor"), await server.bus("agent-a")
        attempts = asyncio.Queue[int]()

        async def work(delivery: Delivery) -> None:
            attempts.put_nowait(delivery.attempt)
            if delivery.attempt == 1:
                await asyncio.Event().wait()
            await delivery.ack()

        await agent.pull(DURABLE, STREAM, work, slots=2)
        await dispatch(executor)
        async with asyncio.timeout(30.0):
            assert [await attempts.get(), await attempts.get()] == [1, 2]
