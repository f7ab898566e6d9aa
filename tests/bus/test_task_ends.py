"""A puller and a watchdog start again after an exception, over a real server."""

import asyncio
from pathlib import Path

import pytest

from writ_bus import tasks
from writ_bus.nats.bus import connect
from writ_bus.nats.client.watchdog import Watchdog
from writ_bus.nats.pull import PullWorker
from writ_bus.port import Delivery
from writ_testing.injection import break_once
from writ_testing.peers.nats_server import anybody, open_server, writ_server
from writ_testing.peers.tcp_proxy import tcp_proxy
from writ_testing.suites.bus_fixture import SOON
from writ_testing.suites.work import STREAM, dispatch


async def test_puller_goes_on_after_an_exception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with writ_server(tmp_path, pools=("a",)) as server:
        executor, agent = await server.bus("executor"), await server.bus("agent-a")
        done = asyncio.Queue[int]()

        async def work(delivery: Delivery) -> None:
            await delivery.ack()
            done.put_nowait(delivery.sequence)

        break_once(monkeypatch, PullWorker, "_pull")
        await agent.pull("agent-a", STREAM, work, slots=2)
        sequence = await dispatch(executor, pool="a")
        assert await asyncio.wait_for(done.get(), SOON) == sequence
        assert tasks.take_ended() == {"pull": 1}


async def test_watchdog_still_cuts_a_silent_connection_after_an_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_server(tmp_path) as (_, url), tcp_proxy(int(url.rpartition(":")[2])) as proxy:
        break_once(monkeypatch, Watchdog, "run")
        through = f"nats://127.0.0.1:{proxy.port}"
        bus = await connect(anybody(through, probe_every=0.05, probe_patience=0.2))
        lost = asyncio.Event()
        bus.connection.on_lost.append(lost.set)
        proxy.stall()
        await asyncio.wait_for(lost.wait(), SOON)
        assert tasks.take_ended() == {"nats watchdog": 1}
        proxy.flow()
        await bus.close()
