"""The bound of the values in a reply of JSON."""

import json

import pytest

from writ_agent.backends.json_values import MOST_VALUES, has_too_many_values

MANY = MOST_VALUES + 1


@pytest.mark.parametrize(
    "text",
    ["," * MANY, '"[' * MANY, "\\,{" * MANY, '\\",' * MANY, "\\"],
    ids=["commas", "quotes", "slashes", "both", "end"],
)
@pytest.mark.parametrize("form", [bytes, bytearray])
def test_text_counts_as_one_value(text: str, form: type[bytes] | type[bytearray]) -> None:
    assert not has_too_many_values(form(json.dumps({"content": text, "size": len(text)}).encode()))
    assert has_too_many_values(form(json.dumps({"content": text, "lists": [[]] * MANY}).encode()))


def test_values_count_also_where_they_are_strings_or_keys() -> None:
    assert has_too_many_values(json.dumps(["a"] * (MANY + 1)).encode())
    assert has_too_many_values(json.dumps({str(number): number for number in range(MANY + 1)}).encode())
    assert not has_too_many_values(json.dumps(["a"] * (MOST_VALUES - 1)).encode())
