"""In the queues before an endpoint senders take turns, urgent messages pass others, and late ones are dropped."""

import asyncio
from collections import Counter

import pytest

from writ_bus.lanes import TIMEOUT, Lanes
from writ_bus.port import Endpoint, Message
from writ_bus.workers import BACKLOG, MOST_RUNNING_BYTES, MOST_WAITING_BYTES, WaitingBytes, Workers


async def unused(_: Message) -> bytes:
    raise AssertionError("jobs are given to the lanes as they are")


def lanes(concurrency: int, subject: str = "writ.request.*.*", waiting: WaitingBytes | None = None) -> Lanes:
    return Lanes(
        Endpoint(name="request", subject=subject, handler=unused, concurrency=concurrency, urgent=["stop_set"]),
        waiting,
    )


class Jobs:
    """Jobs which record their sender at the start, and end on release."""

    def __init__(self, queues: Lanes) -> None:
        self.queues = queues
        self.started: list[str] = []
        self.go = asyncio.Event()

    def send(self, sender: str, operation: str = "test_noop", timeout: str = "", size: int = 100) -> bool:
        async def job() -> None:
            self.started.append(sender)
            await self.go.wait()

        headers = {TIMEOUT: timeout} if timeout else {}
        return self.queues.submit(f"writ.request.{sender}.{operation}", headers, size, job)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_flood_leaves_a_quarter_of_the_slots_to_others() -> None:
    jobs = Jobs(lanes(8))
    assert all(jobs.send("mallory") for _ in range(50))
    assert jobs.send("alice")
    await settle()
    assert Counter(jobs.started) == {"mallory": 6, "alice": 1}
    jobs.go.set()
    await jobs.queues.finish()
    assert Counter(jobs.started) == {"mallory": 50, "alice": 1}


async def test_senders_take_turns_where_all_slots_are_taken() -> None:
    jobs = Jobs(lanes(1))
    for sender in ("mallory", "mallory", "mallory", "mallory", "alice", "bob", "alice"):
        assert jobs.send(sender)
    jobs.go.set()
    await jobs.queues.finish()
    assert jobs.started == ["mallory", "mallory", "alice", "bob", "mallory", "alice", "mallory"]


async def test_sender_fills_at_most_a_quarter_of_the_queue() -> None:
    jobs = Jobs(lanes(1))
    accepted = sum(jobs.send("mallory") for _ in range(BACKLOG))
    assert accepted == 1 + BACKLOG // 4
    assert jobs.send("alice")
    jobs.go.set()
    await jobs.queues.finish()


async def test_endpoint_without_senders_has_no_shares() -> None:
    jobs = Jobs(lanes(4, "writ.policy.decide"))
    assert sum(jobs.send("anybody") for _ in range(1000)) == 4 + 4 * BACKLOG
    await settle()
    assert len(jobs.started) == 4
    await jobs.queues.cancel()


async def test_urgent_message_passes_a_full_queue_of_its_own_sender() -> None:
    jobs = Jobs(lanes(2))
    while jobs.send("mallory"):
        pass
    assert jobs.send("mallory", "stop_set")
    await settle()
    assert len(jobs.started) == 3
    await jobs.queues.cancel()


@pytest.mark.parametrize("timeout", ["", "soon", "nan", "-1", "1e9"])
async def test_message_without_a_usable_timeout_is_not_dropped(timeout: str) -> None:
    jobs = Jobs(lanes(1))
    assert jobs.send("alice")
    assert jobs.send("alice", timeout=timeout)
    jobs.go.set()
    await jobs.queues.finish()
    assert (len(jobs.started), jobs.queues.dropped) == (2, 0)


async def test_job_that_waited_longer_than_its_sender_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    now = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now)
    jobs = Jobs(lanes(1))
    assert jobs.send("alice")
    assert jobs.send("bob", timeout="3.000")
    now += 3.5
    jobs.go.set()
    await jobs.queues.finish()
    assert (jobs.started, jobs.queues.dropped) == (["alice"], 1)


async def test_sender_runs_few_bytes_at_once_and_in_order() -> None:
    jobs = Jobs(lanes(64))
    for sender in ["mallory"] * 20 + ["alice"]:
        assert jobs.send(sender, size=MOST_RUNNING_BYTES // 4)
    assert jobs.send("mallory", size=1)
    await settle()
    assert Counter(jobs.started) == {"mallory": 4, "alice": 1}
    jobs.go.set()
    await jobs.queues.finish()
    assert Counter(jobs.started) == {"mallory": 21, "alice": 1}


async def test_message_beyond_the_bytes_that_may_run_runs_alone() -> None:
    jobs = Jobs(lanes(8))
    for size in (MOST_RUNNING_BYTES + 1, 1, 1, 1):
        assert jobs.send("mallory", size=size)
    await settle()
    assert len(jobs.started) == 1
    jobs.go.set()
    await settle()
    assert len(jobs.started) == 4
    await jobs.queues.finish()


async def test_bytes_of_a_sender_that_wait_at_all_endpoints_have_a_bound() -> None:
    waiting = WaitingBytes()
    one, other = Jobs(lanes(64, waiting=waiting)), Jobs(lanes(64, waiting=waiting))
    accepted = [jobs.send("mallory", size=1 << 20) for jobs in (one, other) for _ in range(100)]
    assert sum(accepted) == (2 * MOST_RUNNING_BYTES + MOST_WAITING_BYTES) >> 20
    assert other.send("alice", size=1 << 20)
    one.go.set()
    await one.queues.finish()
    assert other.send("mallory", size=1 << 20)
    await other.queues.cancel()
    assert waiting.take("mallory", MOST_WAITING_BYTES)


async def test_end_of_a_job_looks_at_few_of_the_senders_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart of the executors, claims of thousands of pools wait at once."""
    jobs, looks, may_run = Jobs(lanes(4)), 0, Workers._may_run

    def counted(self: Workers, sender: str, size: int) -> bool:
        nonlocal looks
        looks += 1
        return may_run(self, sender, size)

    for number in range(200):
        assert jobs.send(f"pool-{number}")
    monkeypatch.setattr(Workers, "_may_run", counted)
    jobs.go.set()
    await jobs.queues.finish()
    assert len(jobs.started) == 200
    assert looks < 2 * 200
