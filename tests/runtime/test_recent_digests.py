"""Digests of large parameters are computed once, and never taken for other values."""

from typing import Any

import pytest

from writ_contracts.large_texts import LARGE, written_texts
from writ_runtime import recent_digests
from writ_runtime.recent_digests import RecentDigests
from writ_trust.digests import keyed_digest

KEY, OTHER_KEY = "ab" * 32, "cd" * 32
LARGE_VALUES = {"file_path": "/srv/a", "content": "x" * LARGE, "number": 1}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the key of each computed digest."""
    keys: list[str] = []

    def noted(key: str, value: Any) -> str:
        keys.append(key)
        return keyed_digest(key, value)

    monkeypatch.setattr(recent_digests, "keyed_digest", noted)
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
