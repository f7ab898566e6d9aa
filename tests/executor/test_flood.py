"""Rate limits admit their promised rate, no more, and count refusals."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.executor.conftest import World

from writ_contracts.errors import Unreachable
from writ_contracts.journal import RefusedSummary
from writ_executor.admission.refusal_counts import RefusalCounts
from writ_runtime.buckets import Bucket, Buckets

STATUS = {"parameters": {"service_name": "nginx", "timeout": 1}}


@given(
    st.lists(st.floats(0, 2), max_size=200),
    st.floats(0.5, 50),
    st.integers(1, 50),
)
def test_a_bucket_never_lets_more_through_than_burst_and_rate(gaps: list[float], rate: float, burst: int) -> None:
    bucket = Bucket(rate=rate, burst=burst, tokens=burst, at=0.0)
    now, taken = 0.0, 0
    for gap in gaps:
        now += gap
        taken += bucket.take(now)
    assert taken <= burst + rate * now + 1e-6


def test_one_principal_does_not_use_up_anothers() -> None:
    buckets = Buckets(rate=1.0, burst=2)
    assert [buckets.take("alice", 0.0) for _ in range(3)] == [True, True, False]
    assert buckets.take("bob", 0.0)


def test_bucket_gives_no_token_after_a_clock_stepped_back() -> None:
    bucket = Bucket(rate=1.0, burst=1, tokens=1, at=100.0)
    assert bucket.take(100.0)
    assert not bucket.take(50.0)


def test_refusal_counts_are_returned_once_a_minute() -> None:
    tally = RefusalCounts()
    for _ in range(3):
        tally.add("alice", "rate_limited", 10.0)
    tally.add("alice", "invalid", 11.0)
    assert tally.due(69.0) == {}
    assert tally.due(70.0)["alice"].codes == {"rate_limited": 3, "invalid": 1}
    assert tally.due(1000.0) == {}


async def test_refusals_that_could_not_be_summarised_are_in_the_next_summary(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(subject: str, event: RefusedSummary) -> int:
        raise Unreachable("NATS is away")

    one = await world.executor(rate=0.001, burst=5, sweep=1000.0)
    answers = await asyncio.gather(*(world.ask("service_status", **STATUS) for _ in range(40)))
    limited = sum(answer.error is not None for answer in answers)
    with monkeypatch.context() as patched:
        patched.setattr(one.recorder, "append_last", silent)
        await one.admission.summarise(after=0.0)
    more = await world.ask("service_status", **STATUS)
    assert more.error is not None
    await one.admission.summarise(after=0.0)
    [summary] = [event for event in await world.events() if isinstance(event, RefusedSummary)]
    assert (summary.principal, summary.count, summary.codes) == ("alice", limited + 1, {"rate_limited": limited + 1})


async def test_refusals_of_the_last_minute_are_summarised_at_a_stop(world: World) -> None:
    one = await world.executor(rate=0.001, burst=5, sweep=1000.0)
    answers = await asyncio.gather(*(world.ask("service_status", **STATUS) for _ in range(40)))
    await one.stop()
    [summary] = [event for event in await world.events() if isinstance(event, RefusedSummary)]
    assert summary.count == sum(answer.error is not None for answer in answers)
