"""All outside input has a bound: the types declare it, and decoding refuses the rest."""

import json
from collections.abc import Iterator
from re import _parser  # type: ignore[attr-defined]  # the parser of `re` knows how long a match can be
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect
from tests.contracts.test_catalogue import CATALOGUE

import writ_contracts.policy.versions as policies
from writ_contracts import agents, bounds, decisions, requests
from writ_contracts.agents import ReceiptMessage
from writ_contracts.errors import Invalid
from writ_contracts.installation import enrolment
from writ_contracts.people import approvals
from writ_contracts.policy import facts
from writ_contracts.registry import CHANNELS, Role
from writ_contracts.requests import Request
from writ_contracts.wire import MSGPACK, decode
from writ_testing.each_case import each_case

OUTSIDE = {Role.PRINCIPAL, Role.AGENT, Role.SCANNER, Role.ENROLLER}
SIGNED_BY_POLICY = {decisions.Decision, decisions.Grant, decisions.ReadGrant, policies.PolicyFile, facts.StoredReport}
MODULES = (agents, approvals, decisions, enrolment, facts, policies, requests)
LONGEST = 2_000_000
"""Bytes of a message, and characters of a text in it."""


def statements() -> Iterator[type]:
    """Yield the statements with other signers than policy."""
    for module in MODULES:
        for kind in vars(module).values():
            struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
            if struct and kind not in SIGNED_BY_POLICY and str(kind.__struct_config__.tag).startswith("writ."):
                yield kind


def from_outside() -> dict[str, Any]:
    """Return messages, replies and statements of untrusted parties."""
    kinds = {kind.__name__: kind for kind in statements()}
    for channel in CHANNELS:
        if OUTSIDE & set(channel.senders):
            kinds[channel.name] = channel.message
        if Role.AGENT in channel.receivers and channel.answer is not None:
            kinds[f"{channel.name} (reply)"] = channel.answer
    return kinds | {f"parameters of {one.name}": one.parameters for one in CATALOGUE.values()}


def unbounded(kind: inspect.Type, path: str, above: frozenset[type] = frozenset()) -> Iterator[str]:
    """Return the paths of this type without a bound. `Any` is bounded by `writ_contracts.bounds.check`."""
    assert isinstance(kind, KNOWN), f"{path}: {kind} is new to this test"
    if missing := lack(kind):
        yield f"{path}: {missing}"
    for name, part in parts(kind, path, above):
        yield from unbounded(part, name, above | {getattr(kind, "cls", object)})


def lack(kind: inspect.Type) -> str:
    match kind:
        case inspect.StrType() if kind.max_length is None and longest(kind.pattern) > LONGEST:
            return "text without a length"
        case inspect.IntType() | inspect.FloatType() if not has_range(kind):
            return "number without a range"
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.DictType():
            return "" if kind.max_length is not None else "list or object without a length"
        case _:
            return ""


def parts(kind: inspect.Type, path: str, above: frozenset[type]) -> Iterator[tuple[str, inspect.Type]]:
    match kind:
        case inspect.Metadata():
            yield path, kind.type
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType():
            yield f"{path}[]", kind.item_type
        case inspect.TupleType():
            yield from ((f"{path}[{at}]", one) for at, one in enumerate(kind.item_types))
        case inspect.DictType():
            yield from [(f"{path}{{}}", kind.key_type), (f"{path}{{}}", kind.value_type)]
        case inspect.UnionType():
            yield from ((path, one) for one in kind.types)
        case inspect.StructType() if kind.cls not in above:
            yield from ((f"{kind.cls.__name__}.{field.name}", field.type) for field in kind.fields)


KNOWN = (
    inspect.Metadata,
    inspect.UnionType,
    inspect.ListType,
    inspect.TupleType,
    inspect.VarTupleType,
    inspect.SetType,
    inspect.DictType,
    inspect.StrType,
    inspect.IntType,
    inspect.FloatType,
    inspect.BoolType,
    inspect.NoneType,
    inspect.LiteralType,
    inspect.StructType,
    inspect.AnyType,
    inspect.RawType,
    inspect.BytesType,
)


def has_range(kind: inspect.IntType | inspect.FloatType) -> bool:
    return (kind.ge, kind.gt) != (None, None) != (kind.le, kind.lt)


def longest(pattern: str | None) -> int:
    return int(_parser.parse(pattern).getwidth()[1]) if pattern else LONGEST + 1


@each_case("name", sorted(from_outside()))
def test_message_from_outside_has_a_bound_on_every_field(name: str) -> None:
    assert sorted(set(unbounded(inspect.type_info(from_outside()[name]), name))) == []


def test_field_without_a_bound_is_found() -> None:
    class Loose(msgspec.Struct):
        text: str
        number: int
        names: list[str]

    assert [found.partition(":")[0] for found in unbounded(inspect.type_info(Loose), "")] == [
        "Loose.text",
        "Loose.number",
        "Loose.names",
        "Loose.names[]",
    ]


HOSTILE = {
    "an integer of 71 bits": b'{"target":"web-1","parameters":{"a":1180591620717411303424}}',
    "an integer below 64 bits": b'{"target":"web-1","parameters":{"a":-9223372036854775809}}',
    "not a number": b'{"target":"web-1","parameters":{"a":NaN}}',
    "infinity": b'{"target":"web-1","parameters":{"a":1e999}}',
    "half a surrogate pair": b'{"target":"web-1","parameters":{"a":"\\ud800"}}',
    "half a surrogate pair in a name": b'{"target":"web-1","parameters":{"\\ud800":1}}',
    "bytes that are no UTF-8": b'{"target":"web-1","parameters":{"a":"\xff"}}',
    "33 levels": b'{"target":"web-1","parameters":{"a":' + b"[" * 33 + b"]" * 33 + b"}}",
    "900 levels": b'{"target":"web-1","parameters":{"a":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}}",
    "too many values": b'{"target":"web-1","parameters":{"a":[' + b"1," * 400_000 + b"1]}}",
    "too many parameters": b'{"target":"web-1","parameters":{' + b",".join(b'"p%d":1' % n for n in range(1025)) + b"}}",
    "a long name": b'{"target":"web-1","parameters":{"' + b"n" * 1025 + b'":1}}',
}


@each_case("what", HOSTILE)
def test_request_with_unbounded_content_is_refused(what: str) -> None:
    with pytest.raises(Invalid):
        decode(HOSTILE[what], Request, content_type="application/json")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [[[float("-inf")]]]])
def test_messagepack_with_a_number_that_json_lacks_is_refused(value: object) -> None:
    data = msgspec.msgpack.encode({"target": "web-1", "parameters": {"a": value}})
    with pytest.raises(Invalid, match="number"):
        decode(data, Request, content_type=MSGPACK)


def test_messagepack_with_half_a_surrogate_pair_is_refused() -> None:
    data = b"\x82\xa6target\xa5web-1\xaaparameters\x81\xa1a\xa3\xed\xa0\x80"
    with pytest.raises(Invalid):
        decode(data, Request, content_type=MSGPACK)


def test_free_values_of_an_agent_are_bounded_too() -> None:
    deep = b'{"receipt":null,"principal":"alice","full_output":{"a":' + b"[" * 40 + b"]" * 40 + b"}}"
    with pytest.raises(Invalid):
        decode(deep, ReceiptMessage)


@pytest.mark.parametrize("deep", [1, bounds.MOST_LEVELS])
def test_values_within_the_bounds_pass(deep: int) -> None:
    bounds.check({"a": _nested(deep - 1), "text": "é\U0001f600", "big": 2**63, "small": -(2**63), "half": 0.5})


def _nested(levels: int) -> object:
    return [_nested(levels - 1)] if levels else "x"


def test_messagepack_is_limited_by_its_size_as_json() -> None:
    data = msgspec.msgpack.encode({"target": "web-1", "parameters": {"content": "\n" * 800_000}})
    assert len(data) < 900_000
    with pytest.raises(Invalid) as refused:
        decode(data, Request, content_type=MSGPACK, limit=1_500_000)
    assert refused.value.code == "oversize"


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.text(max_size=4)
    | st.floats()
    | st.integers(-(1 << 70), 1 << 70)
    | st.sampled_from([1 << 63, 1 << 64]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=60,
)


@given(JSON_VALUES, st.integers(0, 40))
def test_is_plain_json_never_passes_what_check_refuses(value: Any, levels: int) -> None:
    for _ in range(levels):
        value = [value]
    text = json.dumps(value).encode("utf-8", "surrogatepass")
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError):
        return
    if bounds.is_plain_json(text):
        bounds.check(decoded)


def test_common_message_is_plain_json() -> None:
    assert bounds.is_plain_json(b'{"target":"web-1","parameters":{"service_name":"nginx"},"reason":"12 345"}')
