"""Bytes attached to JSON arrive as they are; JSON alone is read as before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writ_contracts.attached_bytes import attach, detach
from writ_contracts.errors import Invalid


@given(st.binary(min_size=1, max_size=80), st.binary(max_size=80))
def test_attached_bytes_arrive_beside_their_json(message: bytes, attached: bytes) -> None:
    assert detach(attach(message, attached)) == (message, attached)


@pytest.mark.parametrize("data", [b"", b"{}", b' {"a":1}'])
def test_json_alone_has_nothing_attached(data: bytes) -> None:
    assert detach(data) == (data, b"")


@pytest.mark.parametrize("rest", [b"", bytes(3), bytes(4), bytes(4) + b"{}", b"\0\0\0\3{}", b"\xff\xff\xff\xff{}"])
def test_message_that_ends_within_its_json_is_refused(rest: bytes) -> None:
    with pytest.raises(Invalid, match="ends within its JSON"):
        detach(b"\0" + rest)
