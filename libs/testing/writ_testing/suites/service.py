"""The suite of all service implementations: bounds, failures, discovery, draining."""

import asyncio
import json
from collections import Counter

import pytest

from writ_bus import workers
from writ_bus.errors import BusRefused, Full, TimedOut
from writ_bus.port import EndpointReply, Message
from writ_testing.eventually import eventually
from writ_testing.suites.bus_fixture import (
    ASK,
    REQUESTS,
    SOON,
    BusFixture,
    echo,
    everybody,
    service,
    until_unreachable,
)


class ServiceSuite:
    """The suite of services and their clients."""

    async def test_an_answer_may_have_headers(self, ground: BusFixture) -> None:
        executor, alice = await ground.bus("executor"), await ground.bus("alice")

        async def handle(message: Message) -> EndpointReply:
            return EndpointReply(b"packed", {"Content-Type": "application/msgpack"})

        await executor.serve(service("executor", REQUESTS, handle))
        assert (await alice.request(ASK, b"", timeout=SOON)).headers["Content-Type"] == "application/msgpack"

    async def test_replicas_share_the_requests(self, ground: BusFixture) -> None:
        alice = await ground.bus("alice")
        handled: list[int] = []
        for replica in (0, 1):

            async def handle(message: Message, replica: int = replica) -> bytes:
                handled.append(replica)
                return b""

            await (await ground.bus("executor")).serve(service("executor", REQUESTS, handle))
        await asyncio.gather(*(alice.request(ASK, b"", timeout=SOON) for _ in range(60)))
        assert len(handled) == 60
        assert set(handled) == {0, 1}

    async def test_handlers_run_at_once_up_to_the_bound(self, ground: BusFixture) -> None:
        executor, alice = await ground.bus("executor"), await ground.bus("alice")
        running, most, go = 0, 0, asyncio.Event()

        async def handle(message: Message) -> bytes:
            nonlocal running, most
            running += 1
            most = max(most, running)
            if running == 3:
                go.set()
            await go.wait()
            running -= 1
            return b""

        await executor.serve(service("executor", REQUESTS, handle, concurrency=3))
        await asyncio.gather(*(alice.request(ASK, b"", timeout=SOON) for _ in range(7)))
        assert most == 3

    async def test_handler_that_raises_reveals_nothing_and_is_counted(self, ground: BusFixture) -> None:
        executor, alice = await ground.bus("executor"), await ground.bus("alice")

        async def handle(message: Message) -> bytes:
            if message.data == b"break":
                raise RuntimeError("the password is hunter2")
            return b"fine"

        serving = await executor.serve(service("executor", REQUESTS, handle))
        with pytest.raises(BusRefused) as refused:
            await alice.request(ASK, b"break", timeout=SOON)
        assert "hunter2" not in str(refused.value)
        assert serving.failures == 1
        assert (await alice.request(ASK, b"", timeout=SOON)).data == b"fine"

    async def test_a_reply_that_is_too_large_is_refused_as_oversize(self, ground: BusFixture) -> None:
        executor, alice = await ground.bus("executor"), await ground.bus("alice")

        async def handle(message: Message) -> bytes:
            return bytes(3_000_000)

        await executor.serve(service("executor", REQUESTS, handle))
        with pytest.raises(BusRefused) as refused:
            await alice.request(ASK, b"", timeout=SOON)
        assert (refused.value.code, refused.value.retry) == ("oversize", False)

    async def test_more_than_one_sender_may_keep_waiting_is_refused_as_full(self, ground: BusFixture) -> None:
        executor, alice, bob = [await ground.bus(name) for name in ("executor", "alice", "bob")]
        go = asyncio.Event()

        async def handle(message: Message) -> bytes:
            await go.wait()
            return b""

        await executor.serve(service("executor", REQUESTS, handle, concurrency=1))
        requests = [asyncio.create_task(alice.request(ASK, b"", timeout=SOON)) for _ in range(70)]

        async def refused() -> bool:
            return sum(one.done() for one in requests) >= 70 - 17

        await eventually(refused)  # all of them: what is handled makes room in the line for what is still on its way
        other = asyncio.create_task(bob.request("writ.request.bob.test_noop", b"", timeout=SOON))
        go.set()
        outcomes = await asyncio.gather(*requests, other, return_exceptions=True)
        assert sum(isinstance(outcome, Full) for outcome in outcomes) == 70 - 17
        assert sum(isinstance(outcome, Message) for outcome in outcomes) == 17 + 1

    async def test_bytes_of_one_sender_that_run_and_that_wait_have_bounds(
        self, ground: BusFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(workers, "MOST_RUNNING_BYTES", 10_000, raising=False)
        monkeypatch.setattr(workers, "MOST_WAITING_BYTES", 20_000, raising=False)
        executor, alice, bob = [await ground.bus(name) for name in ("executor", "alice", "bob")]
        running, go = Counter[str](), asyncio.Event()

        async def handle(message: Message) -> bytes:
            running[message.subject] += 1
            await go.wait()
            return b""

        await executor.serve(service("executor", REQUESTS, handle))
        requests = [asyncio.create_task(alice.request(ASK, bytes(1000), timeout=SOON)) for _ in range(60)]

        async def refused() -> bool:
            return sum(one.done() for one in requests) >= 60 - 30

        await eventually(refused)
        assert 5 <= running[ASK] <= 10
        other = asyncio.create_task(bob.request("writ.request.bob.test_noop", bytes(1000), timeout=SOON))
        go.set()
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        assert sum(isinstance(outcome, Full) for outcome in outcomes) >= 60 - 30
        assert sum(isinstance(outcome, Message) for outcome in outcomes) >= 15
        assert isinstance(await other, Message)

    @pytest.mark.parametrize("name", ["", ".policy"])
    async def test_a_service_can_be_discovered(self, ground: BusFixture, name: str) -> None:
        policy, status = await ground.bus("policy"), await ground.bus("status")
        await policy.serve(service("policy", "writ.policy.decide", echo, version="1.2.3"))
        (pong,) = await everybody(status, f"$SRV.PING{name}")
        (info,) = await everybody(status, f"$SRV.INFO{name}")
        found, reply = json.loads(pong.data), json.loads(info.data)
        assert (found["type"], found["name"], found["version"]) == ("io.nats.micro.v1.ping_response", "policy", "1.2.3")
        assert reply["type"] == "io.nats.micro.v1.info_response"
        assert [one["subject"] for one in reply["endpoints"]] == ["writ.policy.decide"]
        assert await everybody(status, f"$SRV.PING.policy.{found['id']}")
        assert not await status.request_many("$SRV.PING.policy.somebodyelse", b"", timeout=0.1)

    async def test_a_service_counts_its_requests(self, ground: BusFixture) -> None:
        policy, executor, status = [await ground.bus(name) for name in ("policy", "executor", "status")]
        await policy.serve(service("policy", "writ.policy.decide", echo))
        for _ in range(3):
            await executor.request("writ.policy.decide", b"", timeout=SOON)
        (stats,) = await everybody(status, "$SRV.STATS.policy")
        (endpoint,) = json.loads(stats.data)["endpoints"]
        assert (endpoint["num_requests"], endpoint["num_errors"]) == (3, 0)

    async def test_draining_lets_handlers_finish(self, ground: BusFixture) -> None:
        executor, alice = await ground.bus("executor"), await ground.bus("alice")
        began, go = asyncio.Event(), asyncio.Event()

        async def handle(message: Message) -> bytes:
            began.set()
            await go.wait()
            return b"finished"

        await executor.serve(service("executor", REQUESTS, handle))
        request = asyncio.create_task(alice.request(ASK, b"", timeout=SOON))
        await began.wait()
        drained = asyncio.create_task(executor.drain(SOON))
        await asyncio.wait({drained}, timeout=0.05)
        go.set()
        assert (await request).data == b"finished"
        await drained
        await until_unreachable(alice, ASK)

    async def test_draining_ends_after_its_grace(self, ground: BusFixture) -> None:
        executor, alice = await ground.bus("executor"), await ground.bus("alice")
        began = asyncio.Event()

        async def handle(message: Message) -> bytes:
            began.set()
            await asyncio.Event().wait()
            return b""

        await executor.serve(service("executor", REQUESTS, handle))
        request = asyncio.create_task(alice.request(ASK, b"", timeout=0.5))
        await began.wait()
        async with asyncio.timeout(SOON):
            await executor.drain(0.1)
        with pytest.raises(TimedOut):
            await request
