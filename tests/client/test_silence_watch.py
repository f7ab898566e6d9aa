"""The watch for services that do not reply, on the bus of a client."""

import asyncio
from collections import Counter

import pytest

from writ_bus.port import Message
from writ_client.queries import silence
from writ_client.queries.silence import SilenceWatch
from writ_contracts import errors, subjects
from writ_contracts.failures import failure_of
from writ_contracts.requests import RequestReply
from writ_contracts.wire import encode
from writ_testing.eventually import eventually
from writ_testing.memory.broker import Broker
from writ_testing.memory.bus import MemoryBus

PROBES = (subjects.query("alice", "operation"), subjects.query("alice", "policy_status"))
SLOW = subjects.request("alice", "test_slow")


class PingedBus(MemoryBus):
    """A bus that counts its pings: there is one at each look for silent services."""

    pings = 0

    async def ping(self, timeout: float) -> None:
        self.pings += 1
        await super().ping(timeout)


class Services:
    """Services that reply at once, and to a slow request once `go_on` is set."""

    def __init__(self, broker: Broker) -> None:
        self.bus = MemoryBus(broker)
        self.asked = Counter[str]()
        self.go_on = asyncio.Event()

    async def start(self) -> None:
        for subject in (*PROBES, SLOW):
            await self.bus.subscribe(subject, self._reply)

    async def _reply(self, message: Message) -> None:
        self.asked[message.subject] += 1
        if message.subject == SLOW:
            await self.go_on.wait()
        await self.bus.publish(message.reply, encode({}))


async def test_services_that_reply_are_asked_now_and_then_while_a_slow_request_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(silence, "TICK", 0.01)
    monkeypatch.setattr(silence, "LATE_SECONDS", 0.02)
    for patience in ("PING_SECONDS", "PROBE_SECONDS", "EVERY"):  # of a slow machine
        monkeypatch.setattr(silence, patience, 60.0)
    broker, said = Broker(), list[str]()
    services, pinged = Services(broker), PingedBus(broker)
    await services.start()
    bus = SilenceWatch(pinged, "alice", "nats://127.0.0.1", said.append)
    waiting = asyncio.create_task(bus.request(SLOW, b"{}", timeout=30))

    async def looked_often() -> bool:
        return services.asked.total() >= 3 and pinged.pings >= 20

    await eventually(looked_often)
    services.go_on.set()
    await waiting
    await bus.close()
    await services.bus.close()
    assert (services.asked, said) == (Counter((*PROBES, SLOW)), [])


async def test_notice_says_that_no_executor_is_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "TICK", 0.01)
    monkeypatch.setattr(silence, "LATE_SECONDS", 0.02)
    monkeypatch.setattr(silence, "PING_SECONDS", 60.0)  # of a slow machine
    broker, said = Broker(), list[str]()
    services = Services(broker)
    await services.bus.subscribe(SLOW, services._reply)
    bus = SilenceWatch(MemoryBus(broker), "alice", "nats://127.0.0.1", said.append)
    waiting = asyncio.create_task(bus.request(SLOW, b"{}", timeout=60))

    async def is_noticed() -> bool:
        return bool(said)

    await eventually(is_noticed, within=30)
    services.go_on.set()
    await waiting
    await bus.close()
    await services.bus.close()
    assert said[0] == "no executor is connected to NATS; still waiting"


async def test_reply_that_policy_is_away_does_not_say_that_replies_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "TICK", 0.01)
    monkeypatch.setattr(silence, "LATE_SECONDS", 0.02)
    monkeypatch.setattr(silence, "PING_SECONDS", 60.0)  # of a slow machine
    monkeypatch.setattr(silence, "EVERY", 60.0)
    broker, said = Broker(), list[str]()
    executor, noticed = MemoryBus(broker), asyncio.Event()
    away = RequestReply(error=failure_of(errors.Unreachable("policy does not answer")))
    replies = [encode(away), encode(RequestReply())]

    async def reply(message: Message) -> None:
        await noticed.wait()
        await executor.publish(message.reply, replies.pop(0))

    def notice(text: str) -> None:
        said.append(text)
        noticed.set()

    await executor.subscribe(SLOW, reply)
    await executor.subscribe(PROBES[0], lambda message: executor.publish(message.reply, encode({})))
    bus = SilenceWatch(MemoryBus(broker), "alice", "nats://127.0.0.1", notice)
    await bus.request(SLOW, b"{}", timeout=60)
    assert said == ["no policy service is connected to NATS; still waiting"]
    await bus.request(SLOW, b"{}", timeout=60)
    assert said[1:] == ["replies come again"]
    await bus.close()
    await executor.close()
