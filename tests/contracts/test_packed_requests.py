"""A large text in MessagePack is not written as JSON, and the message decodes to the same as it would otherwise."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from writ_contracts.errors import Invalid
from writ_contracts.large_texts import LARGE, large_texts, written_texts
from writ_contracts.requests import Request
from writ_contracts.signing import Signed
from writ_contracts.wire import JSON, MSGPACK, canonical, decode, decode_packed, encode, pack

TEXT = 'a "line"\\ of \u00e9\x00\n' * (LARGE // 8)
names = st.sampled_from(["a", "content", "", "\u00e9"]) | st.integers(0, 2)
small = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=3)
)
large = st.sampled_from(
    [TEXT, "x" * LARGE, "x" * (LARGE - 1), b"b" * LARGE, b"b" * (LARGE // 4 * 3), b"b" * (LARGE // 2)]
)
values = small | large | st.lists(small | large, max_size=2)


def packed(value: dict[str, Any]) -> bytes:
    return msgspec.msgpack.encode(value)


def request_in(data: bytes) -> bytes | str:
    """Return the request that `decode` returns, as JSON, or its error."""
    try:
        return encode(decode(data, Request, content_type=MSGPACK))
    except Invalid as error:
        return str(error)


def packed_request_in(data: bytes) -> bytes | str:
    """Return the same of `decode_packed`, whose size of the others must be right."""
    try:
        request, others = decode_packed(data, Request, content_type=MSGPACK)
    except Invalid as error:
        return str(error)
    if others:
        texts = written_texts(request.parameters).values()
        sent = encode({**msgspec.msgpack.decode(data), "parameters": request.parameters})
        assert others + sum(len(bytes(text)) for text in texts) == len(sent)
    return encode(request)


@given(st.dictionaries(names, values, max_size=4), st.sampled_from([{}, {"reason": "why"}, {"extra": 1}]))
@settings(max_examples=150)
def test_packed_request_decodes_as_its_json_does(parameters: dict[Any, Any], more: dict[str, Any]) -> None:
    data = packed({"target": "web-1", "parameters": parameters, **more})
    assert packed_request_in(data) == request_in(data)


@pytest.mark.parametrize("content_type", [JSON, f"{MSGPACK}; v=1", "text/plain"])
def test_request_in_another_form_is_decoded_as_before(content_type: str) -> None:
    value = {"target": "web-1", "parameters": {"content": TEXT}}
    data = packed(value) if content_type.startswith(MSGPACK) else json.dumps(value).encode()
    if content_type == "text/plain":
        with pytest.raises(Invalid, match="text/plain"):
            decode_packed(data, Request, content_type=content_type)
        return
    request, others = decode_packed(data, Request, content_type=content_type)
    assert request.parameters == {"content": TEXT}
    assert bool(others) == (content_type != JSON)


@pytest.mark.parametrize(
    "value", [[], "x" * LARGE, {"target": "web-1", "parameters": ["x" * LARGE]}, {"a": TEXT}, None]
)
def test_other_values_in_messagepack_are_invalid(value: object) -> None:
    with pytest.raises(Invalid):
        decode_packed(msgspec.msgpack.encode(value), Request, content_type=MSGPACK)


@pytest.mark.parametrize("wrong", [float("nan"), msgspec.msgpack.Ext(5, b"x"), {(1, 2): 3}])
def test_value_that_json_lacks_is_invalid_beside_a_large_text(wrong: object) -> None:
    data = packed({"target": "web-1", "parameters": {"content": TEXT, "a": wrong}})
    with pytest.raises(Invalid):
        decode_packed(data, Request, content_type=MSGPACK)


def test_a_name_as_number_and_as_text_is_refused_beside_a_large_text() -> None:
    data = packed({"target": "web-1", "parameters": {1: "x" * LARGE, "1": "y"}})
    with pytest.raises(Invalid, match="occurs twice"):
        decode_packed(data, Request, content_type=MSGPACK)


@given(st.dictionaries(st.sampled_from(["a", "b", "\u00e9"]), large | st.lists(large, max_size=2), min_size=1))
@settings(max_examples=50)
def test_binary_beside_a_large_text_counts_once(others: dict[str, Any]) -> None:
    data = packed({"target": "web-1", "parameters": {"content": TEXT, **others}})
    assert packed_request_in(data) == request_in(data)


def test_size_without_large_texts_is_limited_at_once() -> None:
    parameters = {"content": "x" * LARGE, "other": ["\n" * 1000] * 100}
    data = packed({"target": "web-1", "parameters": parameters})
    with pytest.raises(Invalid) as refused:
        decode_packed(data, Request, content_type=MSGPACK, limit=200_000)
    assert refused.value.code == "oversize"


PAYLOADS = st.dictionaries(
    st.text(max_size=6), st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(0, 1e15) | st.text()
)


@given(PAYLOADS)
def test_client_packs_a_request_of_which_a_service_makes_the_same(payload: dict[str, Any]) -> None:
    statement = Signed(payload=msgspec.Raw(canonical(payload)), key="U" + "A" * 55, signature="x" * 86)
    parameters = {"file_path": "/srv/f", "content": TEXT, "number": 1.0}
    request = Request(target="web-1", parameters=parameters, statement=statement, salt="0" * 64, reason="\u00e9")
    found, others = decode_packed(pack(request), Request, content_type=MSGPACK)
    assert found == request
    assert found.statement is not None
    assert bytes(found.statement.payload) == canonical(payload)
    assert list(found.parameters) == list(parameters)
    assert others < LARGE
    assert large_texts(found.parameters) == {"content": TEXT}
