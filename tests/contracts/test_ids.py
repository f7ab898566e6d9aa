"""Identifiers are checked to the end of the string, and equal requests have equal operation ids."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from writ_contracts import ids
from writ_testing.each_case import each_case

EXAMPLES = {
    "PrincipalId": ("alice", "A-1_b", "x" * 64),
    "TargetId": ("web-1",),
    "PoolId": ("local-web-1",),
    "InstanceId": ("i-0",),
    "OperationName": ("service_restart", "a"),
    "OperationId": ("a" * 26, "abcdefghijklmnopqrstuvwxy7"),
    "CorrelationId": ("a.b:c-d_e", "x" * 128),
    "IdempotencyKey": ("k!", "~" * 128),
    "PublicKey": ("U" + "A" * 55,),
    "Hex32": ("0f" * 32,),
    "Digest": ("0f" * 32,),
}
NEVER = ("", " ", "a b", "a\n", "a\0", "a\t", "é" * 3, "x" * 129, "\n")
TOKENS = ("PrincipalId", "TargetId", "PoolId", "InstanceId")


def holds(name: str, value: str) -> bool:
    alias: Any = getattr(ids, name)
    try:
        msgspec.convert(value, alias)
    except msgspec.ValidationError:
        return False
    return True


@each_case(("name", "value"), [(name, value) for name, values in EXAMPLES.items() for value in values])
def test_matching_id_is_accepted_and_one_with_a_newline_is_not(name: str, value: str) -> None:
    assert holds(name, value)
    assert not holds(name, value + "\n")


@each_case("name", EXAMPLES)
def test_malformed_id_is_refused(name: str) -> None:
    assert [value for value in NEVER if holds(name, value)] == []


@pytest.mark.parametrize("name", TOKENS)
@given(text=st.text(max_size=80))
def test_subject_token_has_no_dot_wildcard_or_space(name: str, text: str) -> None:
    if holds(name, text):
        assert not set(text) & set(".*> \t\r\n\0")
        assert 1 <= len(text) <= 64


@given(st.text(), st.text())
def test_same_request_has_the_same_well_formed_id(principal: str, key: str) -> None:
    first = ids.operation_id(principal, key)
    assert first == ids.operation_id(principal, key)
    assert holds("OperationId", first)


wishes = st.tuples(st.text(alphabet="ab-_", max_size=3), st.text(alphabet="ab-_", max_size=3))


@given(wishes, wishes)
def test_different_requests_have_different_ids(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert (one == other) is (ids.operation_id(*one) == ids.operation_id(*other))


def test_operation_id_of_a_request_does_not_change() -> None:
    assert ids.operation_id("alice", "deploy-42") == "wscoaost34xg66tslloyjcw36q"


@given(st.binary(min_size=16, max_size=16))
def test_encoded_id_of_sixteen_bytes_is_valid(raw: bytes) -> None:
    assert holds("OperationId", ids.encode_id(raw))
