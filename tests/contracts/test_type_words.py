"""Messages about types in the words of the documents."""

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta, Struct

from writ_contracts.type_words import plain_words


class Options(Struct):
    name: Annotated[str, Meta(min_length=2)] | None = None
    most: Annotated[int, Meta(ge=1)] = 1
    share: Annotated[float, Meta(lt=1)] = 0.5
    force: bool = False
    tags: list[str] = []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"name": 5}, "name: expected a text, got a whole number"),
        ({"name": "a"}, "name: expected a text with a length of at least 2"),
        ({"most": "5"}, "most: expected a whole number, got a text"),
        ({"most": 0}, "most: expected a whole number of at least 1"),
        ({"share": 1.5}, "share: expected a number of less than 1.0"),
        ({"force": None}, "force: expected true or false, got nothing"),
        ({"tags": {}}, "tags: expected a list, got a mapping"),
        ([], "expected a mapping, got a list"),
    ],
)
def test_message_has_no_type_of_python(value: Any, message: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(value, Options)
    assert plain_words(str(refused.value)) == message
