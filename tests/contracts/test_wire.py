"""Any bytes decode to a struct or raise Invalid."""

import json
from contextlib import suppress
from types import SimpleNamespace
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta
from tests.contracts.messages import file_name, messages, sample

from writ_contracts import wire
from writ_contracts.errors import Invalid
from writ_contracts.ids import GRAMMAR
from writ_contracts.journal import JournalEvent
from writ_contracts.large_texts import LARGE
from writ_contracts.requests import Request
from writ_contracts.wire import JSON, MSGPACK, canonical, decode, decode_event, encode
from writ_testing.each_case import each_case

EVERY = messages()
REQUEST = b'{"target":"web-1","parameters":{"service_name":"nginx"}}'
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("content_type", [JSON, MSGPACK])
@given(data=st.one_of(st.binary(max_size=200), values.map(lambda value: json.dumps(value).encode())))
def test_raw_bytes_raise_only_invalid(content_type: str, data: bytes) -> None:
    for kind in EVERY:
        with suppress(Invalid):
            decode(data, kind, content_type=content_type)


@given(values)
def test_messagepack_value_is_a_request_or_invalid(value: Any) -> None:
    try:
        decode(msgspec.msgpack.encode(value), Request, content_type=MSGPACK)
    except Invalid:
        return


@given(st.integers(0, len(REQUEST) - 1), st.integers(0, 255))
def test_request_with_a_changed_byte_is_a_request_or_invalid(place: int, byte: int) -> None:
    changed = REQUEST[:place] + bytes([byte]) + REQUEST[place + 1 :]
    try:
        assert isinstance(decode(changed, Request), Request)
    except Invalid:
        return


@pytest.mark.parametrize(
    "bomb",
    [b"[" * 100_000, b'{"a":' * 100_000, b'{"target":"t","parameters":' + b'{"a":' * 50_000, b"[" * 500 + b"]" * 500],
)
def test_nesting_bombs_are_invalid(bomb: bytes) -> None:
    for kind in (Request, JournalEvent):
        with pytest.raises(Invalid):
            decode(bomb, kind)  # type: ignore[arg-type]
    nested = b"\x91" * 100_000
    for kind in (Request, JournalEvent):
        with pytest.raises(Invalid):
            decode(nested, kind, content_type=MSGPACK)  # type: ignore[arg-type]


def test_a_nested_parameter_bomb_in_messagepack_is_invalid() -> None:
    bomb = b"\x82\xa6target\xa1t\xaaparameters" + b"\x81\xa1a" * 50_000
    with pytest.raises(Invalid):
        decode(bomb, Request, content_type=MSGPACK)


def test_oversized_message_is_not_even_decoded() -> None:
    with pytest.raises(Invalid, match="101 bytes; at most 100") as caught:
        decode(b"\xff" * 101, Request, limit=100)
    assert caught.value.code == "oversize"


@pytest.mark.parametrize("content_type", ["application/json", "", "Application/JSON; charset=utf-8"])
def test_json_is_the_default_content_type(content_type: str) -> None:
    assert decode(REQUEST, Request, content_type=content_type).target == "web-1"


def test_messagepack_decodes_to_the_same_as_json() -> None:
    packed = msgspec.msgpack.encode(msgspec.json.decode(REQUEST))
    assert decode(packed, Request, content_type=MSGPACK) == decode(REQUEST, Request)


@pytest.mark.parametrize(
    "payload", [b'"\xff\xfe"', b"1e999999", b'"\xed\xa0\x80"', *(b"[" * deep + b"]" * deep for deep in (40, 5000))]
)
def test_statement_that_json_cannot_store_is_invalid(payload: bytes) -> None:
    signed = b'"statement":{"payload":%b,"key":"U%b","signature":"x"}' % (payload, b"A" * 55)
    with pytest.raises(Invalid):
        decode(b'{"target":"web-1",%b}' % signed, Request)


@given(values | st.binary(max_size=8) | st.floats())
def test_a_statement_in_messagepack_is_kept_as_json(payload: Any) -> None:
    signed = {"payload": payload, "key": "U" + "A" * 55, "signature": "x"}
    try:
        request = decode(
            msgspec.msgpack.encode({"target": "web-1", "statement": signed}), Request, content_type=MSGPACK
        )
    except Invalid:
        return
    assert decode(encode(request), Request) == request


def test_messagepack_that_is_no_json_is_invalid() -> None:
    for wrong in (msgspec.msgpack.Ext(5, b"x"), {(1, 2): 3}):
        with pytest.raises(Invalid, match="JSON"):
            decode(
                msgspec.msgpack.encode({"target": "web-1", "parameters": {"a": wrong}}), Request, content_type=MSGPACK
            )


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "x", "application/json5"])
def test_unknown_content_type_is_invalid_and_named(content_type: str) -> None:
    with pytest.raises(Invalid, match="content type"):
        decode(REQUEST, Request, content_type=content_type)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"target": "web-1\n"}, r"\$\.target"),
        ({"target": 7}, r"\$\.target"),
        ({"dry_run": 1}, r"\$\.dry_run"),
        ({"parameters": []}, r"\$\.parameters"),
        ({"reason": "x" * 1001}, r"\$\.reason"),
        ({"principal": "mallory"}, "unknown field `principal`"),
        ({"idempotency_key": ""}, r"\$\.idempotency_key"),
    ],
)
def test_error_names_the_path_of_the_value(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        decode(json.dumps({"target": "web-1", **changed}).encode(), Request)


@each_case("pattern", GRAMMAR)
def test_error_describes_a_valid_name_in_words(pattern: str) -> None:
    with pytest.raises(Invalid) as caught:
        decode(b'{"name":"\\u00e9\\n"}', msgspec.defstruct("Named", [("name", Annotated[str, Meta(pattern=pattern)])]))
    assert str(caught.value) == f"Expected {GRAMMAR[pattern]} - at `$.name`"


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "is empty"), (b'{"target":"web-1"', "ends in the middle"), (b'{"target":"\\ud800"}', "surrogate")],
)
def test_malformed_json_has_a_readable_error(data: bytes, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        decode(data, Request)


def test_error_never_shows_a_value() -> None:
    with pytest.raises(Invalid) as caught:
        decode(b'{"target":"hunter2 hunter2","parameters":{}}', Request)
    assert "hunter2" not in str(caught.value)


@given(values)
def test_canonical_bytes_do_not_depend_on_the_order_of_keys(value: Any) -> None:
    assert canonical(value) == canonical(json.loads(json.dumps(value, sort_keys=True)))
    assert json.loads(canonical(value)) == value


@each_case("kind", EVERY, ids=file_name)
def test_encoded_message_decodes_to_itself(kind: Any) -> None:
    assert decode(encode(sample(kind)), kind) == sample(kind)


@pytest.mark.parametrize("body", [b'{"type":"of_tomorrow"}', b'{"id":"x","at":1,"correlation_id":"c"}', b"[]"])
def test_event_of_an_unknown_kind_without_the_common_fields_is_invalid(body: bytes) -> None:
    with pytest.raises(Invalid):
        decode_event(body)


@pytest.mark.parametrize(
    "parameters",
    [
        '{"file_path":"/srv/a","file_path":"/etc/shadow"}',
        '{"a":{"b":1,"b":1}}',
        r'{"file_path":"/a","file\u005fpath":"/b"}',
    ],
)
def test_duplicate_name_in_a_request_is_refused(parameters: str) -> None:
    text = f'{{"target":"web1","parameters":{parameters}}}'.encode()
    with pytest.raises(Invalid, match="occurs twice"):
        decode(text, Request, content_type=JSON)


LARGE_TEXT = encode("line\n" * 20_000).decode()
SPACES = " " * 70_000


@pytest.mark.parametrize(
    "parameters",
    [
        f'{{"a": 1, "content": {LARGE_TEXT}, "a": 2}}',
        f'{{"content":{LARGE_TEXT},"content":{LARGE_TEXT}}}',
        f'{{"content":{LARGE_TEXT},"x":{{"b":1,"b":1}}}}',
        f'{{"content": "{SPACES},", "a": "x: "{SPACES},",": 1, "b": 1, "b": 2}}',
        f'{{"content":"{SPACES}", "a":[{{{LARGE_TEXT}:1,{LARGE_TEXT}:2}}]}}',
        f'{{"a": "\\": \\"{SPACES}", "content": "{SPACES}", "a": 1}}',
    ],
)
def test_duplicate_name_beside_a_large_text_is_refused(parameters: str) -> None:
    data = f'{{"target": "web-1", "parameters": {parameters}}}'.encode()
    with pytest.raises(Invalid, match="occurs twice"):
        decode(data, Request, content_type=JSON)


@pytest.mark.parametrize("parameters", [f'{{"content":{LARGE_TEXT},"a":1}}', f'{{"a": "x: "{SPACES},",": 1}}'])
def test_large_text_beside_different_names_is_accepted(parameters: str) -> None:
    data = f'{{"target": "web-1", "parameters": {parameters}}}'.encode()
    assert decode(data, Request, content_type=JSON).parameters == json.loads(parameters)


def repeats_a_name(text: bytes) -> bool:
    """Return whether an object in the JSON has a name twice, by the reader of the standard library alone."""
    twice = False

    def noted(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        twice = twice or len(dict(pairs)) < len(pairs)
        return dict(pairs)

    json.loads(text, object_pairs_hook=noted)
    return twice


PIECES = ['"', "\\", '\\"', ":", ",", '":', '": ', "}", " ", "a", "\n", "\u00e9", "\0", " " * 63, "\\" * 64]
small_texts = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
large = st.tuples(small_texts, st.sampled_from([" ", "x", '"', "\\", "\n"]), small_texts).map(
    lambda parts: f"{parts[0]}{parts[1] * LARGE}{parts[2]}"
)
names = st.sampled_from(["a", "b", "content", ":", '":', " "])
members = st.lists(st.tuples(names, small_texts | large), min_size=1, max_size=5)
spaces = st.sampled_from(["", " ", " " * 70])


@given(members, spaces, st.booleans())
@settings(max_examples=150)
def test_request_with_large_texts_is_refused_just_for_a_repeated_name(
    parameters: list[tuple[str, str]], space: str, ascii_only: bool
) -> None:
    written = ((json.dumps(name), json.dumps(value, ensure_ascii=ascii_only)) for name, value in parameters)
    object_ = f",{space}".join(f"{name}:{space}{value}" for name, value in written)
    text = f'{{"target":"web-1","parameters":{{{object_}}}}}'.encode()
    if repeats_a_name(text):
        with pytest.raises(Invalid, match="occurs twice"):
            decode(text, Request, content_type=JSON)
    else:
        assert decode(text, Request, content_type=JSON).parameters == dict(parameters)


FULL = "x" * LARGE


@pytest.mark.parametrize("value", [FULL, '"quoted"\n' * LARGE, f'few "\\ {FULL} "', FULL + "\\" * 9])
def test_large_text_is_not_read_for_a_repeated_name(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = list[str]()
    monkeypatch.setattr(wire, "_unique_names", SimpleNamespace(decode=read.append))
    decode(encode({"target": "web-1", "parameters": {"content": value, "b": 1}}), Request, content_type=JSON)
    assert read == ['{"target":"web-1","parameters":{"content":"","b":1}}']


def test_name_behind_a_text_that_ends_with_a_colon_is_no_large_text() -> None:
    """What begins like the large text here stands between two texts: without it there is no JSON left to read."""
    text = f'{{"target":"web-1","parameters":{{"k: "{" " * 70}:1,"content":"{" " * LARGE}"}}}}'
    assert decode(text.encode(), Request, content_type=JSON).parameters["k: "] == 1


def test_same_name_in_several_objects_is_accepted() -> None:
    text = b'{"target":"web1","parameters":{"a":[{"b":1},{"b":{"b":2}}],"target":"b"}}'
    assert decode(text, Request, content_type=JSON).parameters["target"] == "b"
