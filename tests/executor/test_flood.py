"""Rate limits admit their promised rate, no more, and count refusals."""

from hypothesis import given
from hypothesis import strategies as st

from writ_executor.admission.refusal_counts import RefusalCounts
from writ_runtime.buckets import Bucket, Buckets


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
