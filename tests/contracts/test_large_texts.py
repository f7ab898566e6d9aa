"""Large texts beside a message come back as they were, or not at all."""

from typing import Any

import pytest

from writ_contracts.errors import Invalid
from writ_contracts.large_texts import LARGE, texts_as_bytes, texts_of_bytes, without_large_texts


def test_texts_come_back_in_their_order_and_small_values_stay() -> None:
    values: dict[str, Any] = {"b": "é" * LARGE, "small": "x", "a": '"\n' * LARGE, "list": ["x" * LARGE]}
    sizes, data = texts_as_bytes(values)
    others = without_large_texts(values)
    assert [name for name, _ in sizes] == ["b", "a"]
    assert others.keys() == {"small", "list"}
    assert {**others, **texts_of_bytes(sizes, data, others)} == values


@pytest.mark.parametrize(
    "sizes",
    [
        [("a", 1)],
        [("a", 3)],
        [("a", 3), ("b", -1)],
        [("a", 1), ("a", 1)],
        [("other", 2)],
        [],
    ],
)
def test_other_sizes_or_names_are_refused(sizes: list[tuple[str, int]]) -> None:
    with pytest.raises(Invalid):
        texts_of_bytes(sizes, b"xy", {"other": 1})


@pytest.mark.parametrize("data", [b"\xff", "é".encode()[:1], b"\xed\xa0\x80"])
def test_bytes_that_are_no_text_are_refused(data: bytes) -> None:
    with pytest.raises(Invalid, match="not UTF-8"):
        texts_of_bytes([("a", len(data))], data, {})
