"""Every struct on the wire, found through the registry and the signed statements, with one sample of each.

Samples are made from the types alone and have every field set, so a new field shows in the golden files at once. After
a change of the contracts, `python -m tests.contracts.messages` writes the golden files: review the difference.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec import Raw, Struct
from msgspec import inspect as types

from writ_contracts import agents, decisions, inventory, journal, notices, requests, signing
from writ_contracts.history import audit
from writ_contracts.ids import (
    LINE_PATTERN,
    PREFIX_PATTERN,
    TOKEN_PATTERN,
    CorrelationId,
    Digest,
    IdempotencyKey,
    OperationId,
    OperationName,
    PublicKey,
)
from writ_contracts.installation import enrolment, provisioning
from writ_contracts.people import approvals, directory
from writ_contracts.policy import facts, versions
from writ_contracts.registry import CHANNELS
from writ_contracts.wire import encode

GOLDEN = Path(__file__).with_name("golden")
MODULES = (
    agents,
    approvals,
    audit,
    decisions,
    enrolment,
    facts,
    inventory,
    journal,
    notices,
    directory,
    versions,
    provisioning,
    requests,
    signing,
)


def _pattern(alias: Any) -> str:
    return str(get_args(alias)[1].pattern)


TEXTS = {
    PREFIX_PATTERN: "bpus",
    None: "text",
    TOKEN_PATTERN: "token-1",
    _pattern(OperationName): "service_restart",
    _pattern(OperationId): "abcdefghijklmnopqrstuvwxy2",
    _pattern(CorrelationId): "correlation:1",
    _pattern(IdempotencyKey): "key!1",
    _pattern(PublicKey): "U" + "A2" * 27 + "B",
    _pattern(Digest): "0123456789abcdef" * 4,
    r"^/": "/srv/app",
    r"^[a-z][a-z0-9_]{0,31}(?!\n)$": "local",
    r"^[A-Za-z0-9_-]*(?!\n)$": "abc-1",
    LINE_PATTERN: "a line",
    r"^list_[a-z_]{1,40}(?!\n)$": "list_services",
}
"""One text that fits, by pattern."""

LEFT_OUT: dict[type[Struct], tuple[str, ...]] = {
    audit.TraceQuery: ("correlation_id", "security"),
    audit.SecurityFilter: ("reads",),
}
"""Fields that exclude another one."""


def statements() -> list[type[Struct]]:
    """Return the signed structs: those with a tag that begins with `writ.`."""
    found = {kind for module in MODULES for kind in vars(module).values() if isinstance(kind, type)}
    return sorted((kind for kind in found if str(_tag(kind)).startswith("writ.")), key=file_name)


@cache
def messages() -> tuple[type[Struct], ...]:
    """Return every struct of a channel, by itself, in a signature or in another struct."""
    found: dict[str, type[Struct]] = {}
    waiting = [*statements(), *(kind for channel in CHANNELS for kind in carried(channel.message, channel.answer))]
    while waiting:
        kind = waiting.pop()
        if file_name(kind) not in found:
            found[file_name(kind)] = kind
            waiting += _inside(types.type_info(kind), skip=kind)
    return tuple(found[name] for name in sorted(found))


def carried(*sides: Any) -> Iterator[type[Struct]]:
    """Return the structs of a message or reply, which may be a union, or bytes, or absent."""
    for side in sides:
        for kind in get_args(side) or (side,):
            if isinstance(kind, type) and issubclass(kind, Struct):
                yield kind


def file_name(kind: type[Struct]) -> str:
    """Return the name of the golden file: the tag if it has a version, else the class."""
    tag = str(_tag(kind))
    return f"{tag if tag.startswith('writ.') else kind.__name__}.json"


def sample(kind: type[Struct]) -> Struct:
    """Return the sample of a type; it is the same at each call."""
    made = _value(types.type_info(kind))
    assert isinstance(made, Struct)
    return made


def _tag(kind: Any) -> object:
    return kind.__struct_config__.tag if isinstance(kind, type) and issubclass(kind, Struct) else None


def _inside(info: Any, skip: type[Struct]) -> Iterator[type[Struct]]:
    if isinstance(info, types.StructType) and info.cls is not skip:
        yield info.cls
    elif isinstance(info, types.StructType):
        for field in info.fields:
            yield from _inside(field.type, skip)
    elif isinstance(info, types.UnionType):
        for part in info.types:
            yield from _inside(part, skip)
    elif isinstance(info, types.ListType):
        yield from _inside(info.item_type, skip)
    elif isinstance(info, types.DictType):
        yield from _inside(info.value_type, skip)
    elif isinstance(info, types.Metadata):
        yield from _inside(info.type, skip)


def _value(info: Any) -> Any:  # noqa: C901 - one line for each type there is
    match info:
        case types.Metadata():
            return min(info.extra["known"]) if info.extra and "known" in info.extra else _value(info.type)
        case types.StructType():
            left_out = LEFT_OUT.get(info.cls, ())
            return info.cls(**{one.name: _value(one.type) for one in info.fields if one.name not in left_out})
        case types.UnionType():
            return _value(next(part for part in info.types if not isinstance(part, types.NoneType)))
        case types.ListType():
            return [_value(info.item_type)]
        case types.TupleType():
            return tuple(map(_value, info.item_types))
        case types.DictType():
            return {"name": _value(info.value_type)}
        case types.StrType():
            return TEXTS[info.pattern]
        case types.LiteralType():
            return info.values[0]
        case types.BoolType():
            return True
        case types.IntType():
            return 7
        case types.FloatType():
            return 7.25
        case types.BytesType():
            return b"bytes"
        case types.AnyType():
            return "anything"
        case types.RawType():
            return Raw(b'{"type":"writ.sample.v1"}')
    raise AssertionError(f"no sample of {info}")


def text(kind: type[Struct]) -> str:
    """Return the golden file's content: the wire form of the sample, with white space for readers."""
    return msgspec.json.format(encode(sample(kind)), indent=2).decode() + "\n"


if __name__ == "__main__":
    for stale in GOLDEN.glob("*.json"):
        stale.unlink()
    for one in messages():
        (GOLDEN / file_name(one)).write_text(text(one))
