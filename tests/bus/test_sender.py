"""The sender's key is authentication, so only the server's own statement counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writ_bus.port import Message
from writ_bus.sender import REQUEST_INFO, sender_key


@given(st.text(max_size=60))
def test_any_header_gives_a_key_or_nothing(info: str) -> None:
    assert isinstance(sender_key(Message("s", b"", {REQUEST_INFO: info})), str)


def test_the_key_is_read() -> None:
    assert sender_key(Message("s", b"", {REQUEST_INFO: '{"acc":"REQ","user":"UABC"}'})) == "UABC"


@pytest.mark.parametrize("info", ["", "[]", "7", "null", "{}", '{"user":7}', '{"user":null}', '{"user":["UABC"]}', "{"])
def test_without_a_key_in_it_there_is_none(info: str) -> None:
    assert sender_key(Message("s", b"", {REQUEST_INFO: info})) == ""
    assert sender_key(Message("s", b"")) == ""
