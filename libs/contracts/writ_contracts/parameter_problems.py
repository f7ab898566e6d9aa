"""The mistakes in the parameters of a request, in the words of those who write them.

All mistakes are named at once, each with its parameter and never with its value, which may be a secret.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any

import msgspec
from msgspec import Struct, inspect

from writ_contracts.ids import GRAMMAR, in_words
from writ_contracts.nearest_name import LONGEST, near

BETWEEN = "; "
MOST = 8
"""So many mistakes are named."""
_PLACE = re.compile(r" - at `(?:key in )?\$(?P<within>[^`]*)`$")
_VALUE = re.compile(r"^Invalid enum value .*", re.DOTALL)
_FORM = re.compile(r"^Expected `str` matching regex .*", re.DOTALL)
_RANGES = {"ge": "at least {}", "le": "at most {}", "gt": "more than {}", "lt": "less than {}"}


def parameter_problems(struct: type[Struct], values: Mapping[str, Any], error: msgspec.ValidationError) -> str:
    """Return the mistakes in one line, those of missing parameters first; `error` is msgspec's first one."""
    return BETWEEN.join(each_problem(struct, values, error))


def each_problem(
    struct: type[Struct], values: Mapping[str, Any], error: msgspec.ValidationError, unread: Collection[str] = ()
) -> list[str]:
    """Return the mistakes, those of missing parameters first; `error` is msgspec's first one.

    `unread`: parameters that were given, and whose values the caller could not read and reports itself.
    """
    present = {*values, *unread}
    missing = [name for name, field in _fields(struct).items() if field.required and name not in present]
    found = [f"needs {' and '.join(missing)}"] if missing else []
    found += islice(_unknown(struct, values), MOST)
    found += islice(_wrong(struct, values), MOST)
    return found or ([] if unread else [_in_words(error)])


def _unknown(struct: type[Struct], values: Mapping[str, Any]) -> Iterator[str]:
    known = _fields(struct)
    for name in values:
        if name not in known:
            hint = near(name, known) or f"; there are {', '.join(known)}"
            yield f"no parameter '{name[:LONGEST]}'{hint}"


def _wrong(struct: type[Struct], values: Mapping[str, Any]) -> Iterator[str]:
    for name, field in _fields(struct).items():
        if name not in values:
            continue
        try:
            msgspec.convert(values[name], _annotation(struct, field.name), strict=True)
        except msgspec.ValidationError as error:
            yield f"{name}{mismatch(field.type, error)}"


def mismatch(kind: inspect.Type, error: msgspec.ValidationError) -> str:
    """Return what `error` says of a value of this type, to be put behind the value's name: ` must be …`."""
    within = _PLACE.search(str(error))
    place = within["within"] if within else ""
    expected = expectation(_leaf(kind, place))
    return f"{place} must be {expected}" if expected else f"{place}: {_in_words(error)}"


@cache
def _fields(struct: type[Struct]) -> Mapping[str, inspect.Field]:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)  # noqa: S101 - what a struct's type info is
    return {field.encode_name: field for field in info.fields}


@cache
def _annotation(struct: type[Struct], name: str) -> Any:
    """Return the type of a field, with its constraints."""
    return next(field.type for field in msgspec.structs.fields(struct) if field.name == name)


def _leaf(kind: inspect.Type, place: str) -> inspect.Type | None:
    """Return the type of an item of a list or a value of an object; None for what lies deeper."""
    if not place:
        return kind
    for arm in _arms(kind):
        if isinstance(arm, inspect.ListType) and re.fullmatch(r"\[\d+\]", place):
            return arm.item_type
        if isinstance(arm, inspect.DictType) and re.fullmatch(r"\[\.\.\.\]", place):
            return arm.value_type
    return None


def _arms(kind: inspect.Type) -> list[inspect.Type]:
    if isinstance(kind, inspect.Metadata):
        return _arms(kind.type)
    return [inner for arm in kind.types for inner in _arms(arm)] if isinstance(kind, inspect.UnionType) else [kind]


def expectation(kind: inspect.Type | None) -> str:
    """Return the values that a type takes, for people; nothing for those that take more than a few words."""
    match kind:
        case inspect.Metadata():
            described = (kind.extra_json_schema or {}).get("description", "")
            expected = expectation(kind.type)
            return f"{expected} ({described})" if described and expected else described or expected
        case inspect.UnionType():
            return _alternatives(kind)
        case inspect.IntType():
            return _ranged("a whole number", kind)
        case inspect.FloatType():
            return _ranged("a number", kind)
        case inspect.BoolType():
            return "true or false"
        case inspect.LiteralType():
            return f"one of {', '.join(str(value) for value in kind.values)}"
        case inspect.StrType():
            return _text(kind)
        case inspect.ListType():
            return f"a list{_length('items', kind.min_length, kind.max_length)}"
        case inspect.DictType():
            return f"names and values{_length('entries', kind.min_length, kind.max_length)}"
        case _:
            return ""


def _alternatives(kind: inspect.UnionType) -> str:
    known = [expectation(arm) for arm in kind.types if not isinstance(arm, inspect.NoneType)]
    return " or ".join(dict.fromkeys(known)) if all(known) else ""


def _text(kind: inspect.StrType) -> str:
    if kind.pattern is not None:
        return GRAMMAR.get(kind.pattern, "")
    return f"a text{_length('characters', kind.min_length, kind.max_length)}"


def _ranged(noun: str, kind: inspect.IntType | inspect.FloatType) -> str:
    if kind.ge is not None and kind.le is not None:
        return f"{noun} from {kind.ge} to {kind.le}"
    bounds = [words.format(getattr(kind, name)) for name, words in _RANGES.items() if getattr(kind, name) is not None]
    return ", ".join([noun, *bounds])


def _length(noun: str, least: int | None, most: int | None) -> str:
    if not least and most is None:
        return ""
    return f" of {least or 0} to {most} {noun}" if most is not None else f" of at least {least} {noun}"


def _in_words(error: msgspec.ValidationError) -> str:
    text = _VALUE.sub("not one of the allowed values", in_words(str(error)))
    text = _FORM.sub("the form is wrong", text)
    return _PLACE.sub("", text).replace("`", "'")
