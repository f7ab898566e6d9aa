"""The bound of the values in JSON."""

import json

import pytest

from writ_contracts.json_values import may_exceed

MOST = 500_000
MANY = MOST + 1


@pytest.mark.parametrize(
    "text",
    ["," * MANY, '"[' * MANY, "\\,{" * MANY, '\\",' * MANY, "\\"],
    ids=["commas", "quotes", "slashes", "both", "end"],
)
@pytest.mark.parametrize("form", [bytes, bytearray])
def test_text_counts_as_one_value(text: str, form: type[bytes] | type[bytearray]) -> None:
    assert not may_exceed(form(json.dumps({"content": text, "size": len(text)}).encode()), MOST)
    assert may_exceed(form(json.dumps({"content": text, "lists": [[]] * MANY}).encode()), MOST)


def test_values_count_also_where_they_are_strings_or_keys() -> None:
    assert may_exceed(json.dumps(["a"] * (MANY + 1)).encode(), MOST)
    assert may_exceed(json.dumps({str(number): number for number in range(MANY + 1)}).encode(), MOST)
    assert not may_exceed(json.dumps(["a"] * (MOST - 1)).encode(), MOST)
