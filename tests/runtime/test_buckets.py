"""Token buckets limit each principal, and take no more memory for however many principals somebody names."""

import pytest

from writ_runtime import buckets
from writ_runtime.buckets import Buckets


def test_each_principal_has_its_burst_and_then_its_rate() -> None:
    limited = Buckets(rate=2.0, burst=3.0)
    assert [limited.take("alice", 0.0) for _ in range(4)] == [True, True, True, False]
    assert limited.take("bob", 0.0)
    assert [limited.take("alice", 0.5) for _ in range(2)] == [True, False]


def test_full_buckets_of_many_principals_are_forgotten_and_no_limit_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "MOST", 10)
    limited = Buckets(rate=1.0, burst=2.0)
    assert [limited.take("alice", 0.0) for _ in range(3)] == [True, True, False]
    for number in range(10_000):
        assert limited.take(f"made-up-{number}", number / 100)
        if number == 100:  # 1 s later: one token
            assert [limited.take("alice", 1.0) for _ in range(2)] == [True, False]
    assert len(limited._by_principal) < 500  # each is full again after 1 s, in which 100 others come


def test_buckets_that_are_never_filled_again_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "MOST", 10)
    limited = Buckets(rate=0.0, burst=1.0)
    for again in (True, False):
        assert [limited.take(f"p{number}", 0.0) for number in range(100)] == [again] * 100
