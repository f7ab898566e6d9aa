"""A policy too large for one message is sent in packed form, and read back whole or refused."""

import zlib
from base64 import b64decode, b64encode

import pytest

from writ_contracts.catalogue.control import MAX_POLICY_BYTES
from writ_contracts.errors import Invalid
from writ_contracts.policy.versions import (
    MAX_DOCUMENT_BYTES,
    PACKED,
    StoredPolicy,
    document_in,
    packed,
    packed_bytes,
    sent_form,
)

LARGE = "policies: {}\n" + "# é\n" * MAX_POLICY_BYTES


def test_document_that_fits_one_message_is_sent_as_it_is() -> None:
    text = "policies: {name: é}\n"
    assert (sent_form(text), document_in(text), packed_bytes(text)) == (text, text, None)


def test_larger_document_is_sent_packed_and_read_back() -> None:
    sent = sent_form(LARGE)
    assert sent.startswith(PACKED)
    assert len(sent) < MAX_POLICY_BYTES
    assert document_in(sent) == LARGE


def test_stored_version_has_the_form_that_its_author_signed() -> None:
    sent, head = sent_form(LARGE), {"number": 1, "digest": "", "author": "alice", "origin": "published", "at": 0.0}
    compressed = packed_bytes(sent)
    assert compressed is not None
    assert StoredPolicy(**head, packed=compressed, sent_packed=True).sent == sent  # type: ignore[arg-type]
    assert StoredPolicy(**head, packed=packed("a: b")).sent == "a: b"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data", [b"no zlib", zlib.compress(bytes(MAX_DOCUMENT_BYTES + 1)), packed("a") + b"more", zlib.compress(b"\xff")]
)
def test_malformed_packed_document_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        document_in(PACKED + b64encode(data).decode())
    with pytest.raises(Invalid, match="cannot be unpacked"):
        document_in(PACKED + "no base64!")


def test_packed_document_has_one_spelling_since_only_its_bytes_are_stored() -> None:
    data = next(one for one in map(packed, ("a: b", "a: bc", "a: bcd")) if len(one) % 3 == 1)
    text = b64encode(data).decode()
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".index(text[-3])
    other = text[:-3] + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[last ^ 1] + "=="
    assert b64decode(other) == data
    with pytest.raises(Invalid, match="canonical"):
        document_in(PACKED + other)
