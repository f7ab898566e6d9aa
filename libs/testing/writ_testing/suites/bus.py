"""The suite of all Bus implementations, except for services, the journal and pulled work (their own suites).

A test class inherits the suites, and its fixture `ground` makes buses.
"""

import asyncio
import time

import pytest

from writ_bus import tracing
from writ_bus.errors import TimedOut
from writ_bus.port import Message
from writ_testing.suites.bus_fixture import ASK, REQUESTS, SOON, BusFixture, echo, service, until_unreachable
from writ_testing.suites.journal import JournalSuite
from writ_testing.suites.service import ServiceSuite
from writ_testing.suites.work import WorkSuite


class MessagingSuite:
    """The suite of requests, subscriptions and trace context."""

    async def test_a_request_is_answered(self, ground: BusFixture) -> None:
        executor, alice = await ground.bus("executor"), await ground.bus("alice")
        await executor.serve(service("executor", REQUESTS, echo))
        assert (await alice.request(ASK, b"hello", timeout=SOON)).data == b"hello"

    @pytest.mark.parametrize("user", ["executor", "policy", "audit", "agent-a"])
    async def test_services_and_agents_get_the_servers_time(self, ground: BusFixture, user: str) -> None:
        bus = await ground.bus(user)
        before = time.time()
        reply = await bus.server_time(timeout=SOON)
        assert before - 0.01 <= reply <= time.time() + 0.01

    async def test_missing_responder_is_unreachable_within_the_timeout(self, ground: BusFixture) -> None:
        await until_unreachable(await ground.bus("alice"), ASK)

    async def test_a_request_waits_for_a_service_that_comes_a_moment_later(self, ground: BusFixture) -> None:
        executor, alice = await ground.bus("executor"), await ground.bus("alice")
        request = asyncio.create_task(alice.request(ASK, b"patient", timeout=SOON))
        await asyncio.wait({request}, timeout=0.1)
        await executor.serve(service("executor", REQUESTS, echo))
        assert (await request).data == b"patient"

    async def test_no_answer_in_time_is_timed_out(self, ground: BusFixture) -> None:
        executor, alice = await ground.bus("executor"), await ground.bus("alice")

        async def never(message: Message) -> bytes:
            await asyncio.Event().wait()
            return b""

        await executor.serve(service("executor", REQUESTS, never))
        with pytest.raises(TimedOut):
            await alice.request(ASK, b"", timeout=0.2)

    @pytest.mark.parametrize("subject", ["", "writ.*.x", "writ.>", "writ..x", ".x", "x.", "a b", "a\r\nb", "a\0b"])
    async def test_bus_sends_nothing_to_an_invalid_subject(self, ground: BusFixture, subject: str) -> None:
        alice = await ground.bus("alice")
        with pytest.raises(ValueError, match="not a valid subject"):
            await alice.request(subject, b"", timeout=SOON)
        with pytest.raises(ValueError, match="not a valid subject"):
            await alice.publish(subject, b"")

    async def test_a_subscription_with_one_worker_keeps_the_order(self, ground: BusFixture) -> None:
        agent, executor = await ground.bus("agent-a"), await ground.bus("executor")
        heard: asyncio.Queue[bytes] = asyncio.Queue()

        async def hear(message: Message) -> None:
            await asyncio.sleep(0)
            heard.put_nowait(message.data)

        await executor.subscribe("writ.heartbeat.*", hear, concurrency=1)
        for number in range(50):
            await agent.publish("writ.heartbeat.a", str(number).encode())
        async with asyncio.timeout(SOON):
            assert [await heard.get() for _ in range(50)] == [str(number).encode() for number in range(50)]

    async def test_every_executor_hears_what_is_published(self, ground: BusFixture) -> None:
        agent, heard = await ground.bus("agent-a"), asyncio.Queue[int]()
        for replica in (0, 1):

            async def hear(message: Message, replica: int = replica) -> None:
                heard.put_nowait(replica)

            await (await ground.bus("executor")).subscribe("writ.heartbeat.*", hear)
        await agent.publish("writ.heartbeat.a", b"")
        async with asyncio.timeout(SOON):
            assert {await heard.get(), await heard.get()} == {0, 1}

    async def test_a_closed_subscription_hears_no_more(self, ground: BusFixture) -> None:
        agent, executor = await ground.bus("agent-a"), await ground.bus("executor")
        heard: asyncio.Queue[bytes] = asyncio.Queue()

        async def hear(message: Message) -> None:
            heard.put_nowait(message.data)

        first = await executor.subscribe("writ.heartbeat.*", hear)
        await agent.publish("writ.heartbeat.a", b"1")
        async with asyncio.timeout(SOON):
            assert await heard.get() == b"1"
        await first.close()
        await executor.subscribe("writ.progress.*", hear)
        await agent.publish("writ.heartbeat.a", b"2")
        await agent.publish("writ.progress.a", b"3")
        async with asyncio.timeout(SOON):
            assert await heard.get() == b"3"

    async def test_the_trace_goes_through_every_hop(self, ground: BusFixture) -> None:
        alice, executor, policy = [await ground.bus(name) for name in ("alice", "executor", "policy")]
        observed: dict[str, tracing.TraceContext] = {}

        async def decide(message: Message) -> bytes:
            observed["policy"] = tracing.incoming(message.headers)
            return b""

        async def handle(message: Message) -> bytes:
            observed["executor"] = tracing.current() or tracing.root()
            await executor.request("writ.policy.decide", b"", timeout=SOON)
            return b""

        await policy.serve(service("policy", "writ.policy.decide", decide))
        await executor.serve(service("executor", REQUESTS, handle))
        with tracing.within(tracing.root("order-66")) as mine:
            answered = await alice.request(ASK, b"", timeout=SOON)
        assert {trace.trace_id for trace in observed.values()} == {mine.trace_id}
        assert {trace.correlation_id for trace in observed.values()} == {"order-66"}
        assert observed["executor"].causation_id
        assert observed["policy"].causation_id not in ("", observed["executor"].causation_id)
        assert answered.headers[tracing.CAUSATION] == observed["executor"].causation_id
        assert answered.headers[tracing.CORRELATION] == "order-66"

    async def test_requests_go_on_after_the_server_was_away(self, ground: BusFixture) -> None:
        executor, alice = await ground.bus("executor"), await ground.bus("alice")
        await executor.serve(service("executor", REQUESTS, echo))

        await ground.restart(lambda: until_unreachable(alice, ASK))
        assert (await alice.request(ASK, b"back", timeout=SOON)).data == b"back"


class BusSuite(MessagingSuite, ServiceSuite, JournalSuite, WorkSuite):
    """The suite of the Bus port."""
