"""Digests of large parameters are computed once, and never taken for other values."""

import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writ_contracts.large_texts import LARGE, written_texts
from writ_runtime import recent_digests
from writ_runtime.recent_digests import MOST_OTHERS, RecentDigests, begun_digest
from writ_trust.digests import keyed_digest

KEY, OTHER_KEY = "ab" * 32, "cd" * 32
LARGE_VALUES = {"file_path": "/srv/a", "content": "x" * LARGE, "number": 1}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the key under which each large text was digested."""
    keys: list[str] = []

    def noted(key: str, value: Any) -> str:
        keys.append(key)
        return keyed_digest(key, value)

    def begun(key: str, *parts: Any) -> hmac.HMAC:
        keys.append(key)
        return begun_digest(key, *parts)

    monkeypatch.setattr(recent_digests, "keyed_digest", noted)
    monkeypatch.setattr(recent_digests, "begun_digest", begun)
    return keys


async def test_digest_of_large_parameters_is_computed_once(computed: list[str]) -> None:
    digests = RecentDigests()
    for _ in range(3):
        equal = dict(reversed(LARGE_VALUES.items())) | {"content": "".join(["x"] * LARGE)}
        assert digests.of(KEY, equal) == keyed_digest(KEY, LARGE_VALUES)
    assert computed == [KEY]
    digests.drop(KEY)
    digests.of(KEY, LARGE_VALUES)
    assert computed == [KEY, KEY]


@pytest.mark.parametrize(
    "changed", [{"content": "y" * LARGE}, {"number": 1.0}, {"number": True}, {"more": 1}, {"content": "x"}]
)
async def test_other_values_have_a_digest_of_their_own(changed: dict[str, Any]) -> None:
    digests, other = RecentDigests(), {**LARGE_VALUES, **changed}
    digests.of(KEY, LARGE_VALUES)
    assert digests.of(KEY, other) == keyed_digest(KEY, other) != keyed_digest(KEY, LARGE_VALUES)


async def test_texts_that_are_json_already_have_the_same_digest(computed: list[str]) -> None:
    digests, text = RecentDigests(), '\n"\u00e9\U0001f642\x00' * LARGE
    values = {**LARGE_VALUES, "content": text}
    assert digests.of(KEY, values, written_texts(values)) == keyed_digest(KEY, values)
    assert digests.of(KEY, values) == keyed_digest(KEY, values)
    assert computed == [KEY]


async def test_text_is_digested_once_for_parameters_that_differ_behind_it(computed: list[str]) -> None:
    digests, given_ones = RecentDigests(), {"content": LARGE_VALUES["content"], "file_path": "/srv/a"}
    with_defaults = {**given_ones, "encoding": "utf-8", "timeout": 60}
    for values in (with_defaults, given_ones, with_defaults):
        assert digests.of(KEY, values) == keyed_digest(KEY, values)
    assert computed == [KEY]
    before_it = {**given_ones, "a": 1}
    assert digests.of(KEY, before_it) == keyed_digest(KEY, before_it)
    assert computed == [KEY, KEY]


async def test_parameters_with_several_large_texts_have_the_same_digest() -> None:
    digests, values = RecentDigests(), {**LARGE_VALUES, "other": "y" * LARGE, "more": None}
    for one in (values, {**values, "more": 1}, values, {**values, "other": "z" * LARGE}):
        assert digests.of(KEY, one) == keyed_digest(KEY, one)


@given(
    values=st.lists(
        st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8) | st.none(), max_size=4), max_size=5
    ),
    name=st.text(max_size=8),
)
async def test_digest_is_always_that_of_the_whole_parameters(values: list[dict[str, Any]], name: str) -> None:
    digests = RecentDigests()
    for others in values:
        one = {**others, name: LARGE_VALUES["content"]}
        assert digests.of(KEY, one) == keyed_digest(KEY, one)


async def test_digests_of_one_text_are_bounded() -> None:
    digests = RecentDigests()
    for number in range(3 * MOST_OTHERS):
        values = {**LARGE_VALUES, "number": number}
        assert digests.of(KEY, values) == keyed_digest(KEY, values)
    known = digests._recent.get(KEY)
    assert known is not None
    assert len(known.digests) <= MOST_OTHERS


async def test_another_key_makes_another_digest(computed: list[str]) -> None:
    digests = RecentDigests()
    found = [digests.of(key, LARGE_VALUES) for key in (KEY, OTHER_KEY, KEY)]
    assert found == [keyed_digest(key, LARGE_VALUES) for key in (KEY, OTHER_KEY, KEY)]
    assert computed == [KEY, OTHER_KEY]


async def test_overhead_of_kept_texts_counts_against_the_bound(
    computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent_digests, "MOST_BYTES", 4 * LARGE)
    digests, values = RecentDigests(), {**LARGE_VALUES, "labels": ["y" * 1000] * 200}
    digests.of(KEY, values)
    digests.of(OTHER_KEY, values)
    digests.of(KEY, values)
    assert computed == [KEY, OTHER_KEY, KEY]


def test_small_parameters_are_not_kept(computed: list[str]) -> None:
    digests = RecentDigests()
    for _ in range(2):
        assert digests.of(KEY, {"number": 1}) == keyed_digest(KEY, {"number": 1})
    assert computed == [KEY, KEY]
