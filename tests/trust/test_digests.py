"""Canonical bytes and keyed digests, against other implementations of the same."""

import hashlib
import hmac
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from writ_contracts.wire import canonical
from writ_trust.digests import derive, keyed_digest, plain_digest, same

KEY = bytes(range(32)).hex()
whole = st.integers(-(2**53) + 1, 2**53 - 1)
decimals = st.decimals(-(10**9), 10**9, places=3).map(float).filter(lambda value: value != int(value))
# Keys below U+E000: above, RFC 8785 sorts by UTF-16 and we by code point; no name of ours is there.
keys = st.text(st.characters(max_codepoint=0xD7FF), max_size=8)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | whole | decimals | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=15,
)


@given(values)
def test_canonical_is_rfc_8785(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": 1, "a": [True, None, "é\n\u2028\x7f"]}, '{"a":[true,null,"é\\n\u2028\x7f"],"b":1}'),
        ({"": 0, "A": 0, "a": 0, "_": 0}, '{"":0,"A":0,"_":0,"a":0}'),
        ('\x00\x1f"\\/', '"\\u0000\\u001f\\"\\\\/"'),
        (1764000000.123, "1764000000.123"),
    ],
)
def test_the_canonical_form_stays_what_it_is(value: Any, expected: str) -> None:
    assert canonical(value) == expected.encode()


@given(values)
def test_a_keyed_digest_is_hmac_sha256_of_the_canonical_form(value: Any) -> None:
    expected = hmac.new(bytes(range(32)), rfc8785.dumps(value), hashlib.sha256).hexdigest()
    assert keyed_digest(KEY, value) == expected
    assert same(keyed_digest(KEY, value), expected)


SIMILAR: tuple[Any, ...] = ({}, {"a": 1}, {"a": "1"}, {"a": True}, {"a": None}, [])


def test_a_digest_depends_on_key_and_value() -> None:
    digests = {keyed_digest(key, value) for key in (KEY, "00" * 32) for value in SIMILAR}
    assert len(digests) == 12


def test_each_operation_and_purpose_has_a_key_of_its_own() -> None:
    keys_ = {
        derive(key, purpose, operation)
        for key in (b"k" * 32, b"l" * 32)
        for purpose in ("parameters", "look")
        for operation in ("a" * 26, "b" * 26)
    }
    assert len(keys_) == 8
    assert all(len(bytes.fromhex(key)) == 32 for key in keys_)
    assert derive(b"k" * 32, "look", "a" * 26) == derive(b"k" * 32, "look", "a" * 26)


def test_same_compares_texts_of_any_characters() -> None:
    assert same("a" * 64, "a" * 64)
    assert not same("a" * 64, "a" * 63 + "b")
    assert not same("a", "é")


def test_a_plain_digest_is_sha256() -> None:
    assert plain_digest(b"") == hashlib.sha256(b"").hexdigest()
