"""The suite of pulled work and of stores."""

import asyncio

import pytest

from writ_bus.errors import Conflict
from writ_bus.port import Bus, Delivery, Entry
from writ_contracts import subjects
from writ_testing.eventually import eventually
from writ_testing.suites.bus_fixture import SOON, BusFixture
from writ_testing.suites.journal import an_operation

DURABLE = subjects.consumer("a")
STREAM = subjects.JOURNAL_STREAM


async def dispatch(executor: Bus, number: int = 1, *, pool: str = "a") -> int:
    """Dispatch an operation to a pool."""
    operation = an_operation(number)
    return await executor.journal.append(
        Entry(
            subject=subjects.operation_event("alice", operation, "dispatched", pool=pool, target="web-1"),
            data=b"work",
            event_id=f"{operation}-dispatched",
            filter=subjects.operation_filter("alice", operation),
            expected=0,
        )
    )


class WorkSuite:
    """The suite of pull, ack and redelivery; put, get and delete."""

    async def test_work_goes_to_one_agent_of_its_pool(self, ground: BusFixture) -> None:
        executor = await ground.bus("executor")
        done: asyncio.Queue[int] = asyncio.Queue()

        async def work(delivery: Delivery) -> None:
            assert delivery.message.data == b"work"
            assert delivery.attempt == 1
            await delivery.ack()
            done.put_nowait(delivery.sequence)

        async def foreign(delivery: Delivery) -> None:
            done.put_nowait(-1)

        for _ in range(2):
            await (await ground.bus("agent-a")).pull(DURABLE, STREAM, work, slots=2)
        await (await ground.bus("agent-b")).pull(subjects.consumer("b"), STREAM, foreign, slots=2)
        sent = [await dispatch(executor, number) for number in range(20)]
        async with asyncio.timeout(SOON):
            assert sorted([await done.get() for _ in sent]) == sent
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(done.get(), 1.5 * ground.ack_wait)

    async def test_work_that_nobody_acked_comes_again(self, ground: BusFixture) -> None:
        executor, agent = await ground.bus("executor"), await ground.bus("agent-a")
        attempts: asyncio.Queue[int] = asyncio.Queue()

        async def work(delivery: Delivery) -> None:
            if delivery.attempt > 1:
                await delivery.ack()
            attempts.put_nowait(delivery.attempt)

        await agent.pull(DURABLE, STREAM, work, slots=1)
        await dispatch(executor)
        async with asyncio.timeout(2 * SOON):
            assert [await attempts.get(), await attempts.get()] == [1, 2]

    async def test_work_whose_handler_raised_comes_again(self, ground: BusFixture) -> None:
        executor, agent = await ground.bus("executor"), await ground.bus("agent-a")
        attempts: asyncio.Queue[int] = asyncio.Queue()

        async def work(delivery: Delivery) -> None:
            attempts.put_nowait(delivery.attempt)
            if delivery.attempt == 1:
                raise RuntimeError("a defect")
            await delivery.ack()

        await agent.pull(DURABLE, STREAM, work, slots=1)
        await dispatch(executor)
        async with asyncio.timeout(2 * SOON):
            assert [await attempts.get(), await attempts.get()] == [1, 2]

    async def test_work_put_back_comes_after_the_delay(self, ground: BusFixture) -> None:
        executor, agent = await ground.bus("executor"), await ground.bus("agent-a")
        times: asyncio.Queue[float] = asyncio.Queue()

        async def work(delivery: Delivery) -> None:
            times.put_nowait(asyncio.get_running_loop().time())
            await (delivery.nak(0.3) if delivery.attempt == 1 else delivery.ack())

        await agent.pull(DURABLE, STREAM, work, slots=1)
        await dispatch(executor)
        async with asyncio.timeout(SOON):
            first, second = await times.get(), await times.get()
        assert 0.25 < second - first < 0.9 * ground.ack_wait

    async def test_work_in_flight_is_not_given_to_another(self, ground: BusFixture) -> None:
        executor, agent, other = [await ground.bus(name) for name in ("executor", "agent-a", "agent-a")]
        attempts: asyncio.Queue[int] = asyncio.Queue()

        async def work(delivery: Delivery) -> None:
            attempts.put_nowait(delivery.attempt)
            for _ in range(16):
                await asyncio.sleep(ground.ack_wait / 8)
                await delivery.working()
            await delivery.ack()
            attempts.put_nowait(0)

        await agent.pull(DURABLE, STREAM, work, slots=1)
        await other.pull(DURABLE, STREAM, work, slots=1)
        await dispatch(executor)
        async with asyncio.timeout(2 * SOON):
            assert [await attempts.get(), await attempts.get()] == [1, 0]

    async def test_no_more_is_taken_than_there_are_slots(self, ground: BusFixture) -> None:
        executor, agent, other = [await ground.bus(name) for name in ("executor", "agent-a", "agent-a")]
        taken: asyncio.Queue[str] = asyncio.Queue()
        go = asyncio.Event()

        async def slow(delivery: Delivery) -> None:
            await delivery.ack()
            taken.put_nowait("slow")
            await go.wait()

        async def quick(delivery: Delivery) -> None:
            await delivery.ack()
            taken.put_nowait("quick")

        await agent.pull(DURABLE, STREAM, slow, slots=2)
        for number in range(2):
            await dispatch(executor, number)
        async with asyncio.timeout(SOON):
            assert [await taken.get(), await taken.get()] == ["slow", "slow"]
        for number in range(2, 8):
            await dispatch(executor, number)
        await other.pull(DURABLE, STREAM, quick, slots=2)
        async with asyncio.timeout(SOON):
            assert [await taken.get() for _ in range(6)] == ["quick"] * 6
        go.set()

    async def test_pulling_goes_on_after_the_server_was_away(self, ground: BusFixture) -> None:
        executor, agent = await ground.bus("executor"), await ground.bus("agent-a")
        done: asyncio.Queue[int] = asyncio.Queue()

        async def work(delivery: Delivery) -> None:
            await delivery.ack()
            done.put_nowait(delivery.sequence)

        async def nothing() -> None:
            await asyncio.sleep(0)

        await agent.pull(DURABLE, STREAM, work, slots=2)
        await dispatch(executor, 1)
        async with asyncio.timeout(SOON):
            assert await done.get() == 1
        await ground.restart(nothing)
        await dispatch(executor, 2)
        async with asyncio.timeout(2 * SOON):
            while await done.get() != 2:  # the first one's ack may not have reached the server before it went
                continue

    async def test_a_closed_pull_takes_no_more(self, ground: BusFixture) -> None:
        executor, agent = await ground.bus("executor"), await ground.bus("agent-a")
        done: asyncio.Queue[int] = asyncio.Queue()

        async def work(delivery: Delivery) -> None:
            await delivery.ack()
            done.put_nowait(delivery.sequence)

        pull = await agent.pull(DURABLE, STREAM, work, slots=2)
        await dispatch(executor, 1)
        async with asyncio.timeout(SOON):
            assert await done.get() == 1
        await pull.close()
        await dispatch(executor, 2)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(done.get(), 0.3)

    async def test_a_store_gives_back_what_was_put_until_it_is_deleted(self, ground: BusFixture) -> None:
        executor = await ground.bus("executor")
        await executor.results.put("alice.b", b"neighbour", ttl=60)
        for store, key in ((executor.params, "a"), (executor.results, "alice.a")):
            assert await store.get(key) is None
            await store.put(key, b"first", ttl=60)
            assert await store.get(key) == b"first"
            await store.put(key, b"second", ttl=60)
            assert await store.get(key) == b"second"
            await store.delete(key)
            assert await store.get(key) is None
            await store.delete("never")
        assert await executor.results.get("alice.b") == b"neighbour"

    async def test_store_keeps_a_value_from_who_expects_none(self, ground: BusFixture) -> None:
        params = (await ground.bus("executor")).params
        first = await params.put("a", b"first", ttl=60, only_new=True)
        with pytest.raises(Conflict):
            await params.put("a", b"second", ttl=60, only_new=True)
        assert await params.get("a") == b"first"
        await params.delete("a")
        assert await params.put("a", b"second", ttl=60, only_new=True) > first
        assert await params.get("a") == b"second"

    async def test_store_deletes_one_version_and_no_later_one(self, ground: BusFixture) -> None:
        params = (await ground.bus("executor")).params
        first = await params.put("a", b"first", ttl=60)
        second = await params.put("a", b"second", ttl=60)
        await params.put("b", b"neighbour", ttl=60)
        await params.delete("a", version=first)
        assert await params.get("a") == b"second"
        await params.delete("a", version=second)
        assert await params.get("a") is None
        assert await params.get("b") == b"neighbour"

    async def test_renewal_brings_no_deleted_value_back(self, ground: BusFixture) -> None:
        params, others = (await ground.bus("executor")).params, (await ground.bus("executor")).params
        await params.renew("never", ttl=60)
        assert await params.get("never") is None
        for number in range(50):
            await params.put(f"a.{number}", b"x", ttl=60)
            await asyncio.gather(params.renew(f"a.{number}", ttl=60), others.delete(f"a.{number}"))
        assert [await params.get(f"a.{number}") for number in range(50)] == [None] * 50
        await asyncio.gather(*(params.put("b", b"first", ttl=60), params.renew("b", ttl=60)))
        assert await params.get("b") == b"first"

    async def test_version_of_a_value_is_that_of_its_last_write(self, ground: BusFixture) -> None:
        executor = await ground.bus("executor")
        for store in (executor.params, executor.results):
            assert await store.version("a.b") == 0
            stored = await store.put("a.b", b"x", ttl=60)
            assert await store.version("a.b") == stored
            await store.delete("a.b")
            assert await store.version("a.b") == 0

    async def test_store_forgets_after_the_configured_time_what_is_not_renewed(self, ground: BusFixture) -> None:
        executor = await ground.bus("executor")
        await executor.params.put("long", b"x", ttl=60)

        async def renewed() -> bool:
            began = asyncio.get_running_loop().time()
            await executor.params.put("renewed", b"x", ttl=1)
            await executor.params.renew("renewed", ttl=60)
            return asyncio.get_running_loop().time() - began < 1.0

        await eventually(renewed, what="a renewal before the value's end")
        began = asyncio.get_running_loop().time()
        await executor.params.put("short", b"x", ttl=1)
        kept = await executor.params.get("short") == b"x"
        assert kept or asyncio.get_running_loop().time() - began >= 1

        async def gone() -> bool:
            return await executor.params.get("short") is None

        await eventually(gone)
        assert await executor.params.get("long") == b"x"
        assert await executor.params.get("renewed") == b"x"  # stored before the one that is gone

    @pytest.mark.parametrize("key", ["", "a.*", ">", "a b", "a..b"])
    async def test_a_key_that_is_no_subject_is_refused(self, ground: BusFixture, key: str) -> None:
        executor = await ground.bus("executor")
        with pytest.raises(ValueError, match="not a valid subject"):
            await executor.params.get(key)
