"""Conversion of a document to a msgspec type: the value, or all its mistakes at once, each with its position.

msgspec stops at the first mistake, so a correct document costs one call. Only an incorrect one is walked, and no
further than the limit of reported mistakes. Unknown keys are reported with the nearest known one, in structs which
forbid them.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, Meta, Struct
from msgspec.structs import fields

from writ_contracts.nearest_name import near
from writ_contracts.type_words import plain_words
from writ_documents.document import MOST, Document, FileErrors, FileProblem, Keys

Shape = TypeVar("Shape")
EXPECTED = "expected"
"""Key of a type's `Meta.extra`: the values that it takes, in words for messages."""
DURATION = {"duration": True}
"""`Meta.extra` of a text that is a duration with its unit."""


def convert(document: Document, kind: type[Shape]) -> Shape:
    """Return the document's data as `kind`; FileErrors with all mistakes."""
    if document.data is None:
        raise FileErrors(document.problem((), "is empty"))
    try:
        return msgspec.convert(document.data, kind)
    except msgspec.ValidationError as error:
        found = list(islice(mistakes(document, document.data, kind, ()), MOST + 1))
        raise FileErrors(*found or [document.problem((), str(error))]) from error


def without_mistakes(value: Any, kind: Any, fill: Mapping[type[Struct], Mapping[str, Any]]) -> Any:
    """Return the part of `value` of the expected kind, for further checks; UNSET if there is none.

    List items of another kind become null. `fill`: substitutes for missing required keys, by struct.
    """
    if _refused(value, kind) is None:
        return value
    arm = _arm(value, kind)
    arguments, kept = get_args(arm), value
    if isinstance(arm, type) and issubclass(arm, Struct) and isinstance(value, dict):
        hints, known = _hints(arm), {field.encode_name: field for field in fields(arm)}
        parts = {key: (item, hints[known[key].name]) for key, item in value.items() if key in known}
        kept = {**fill.get(arm, {}), **_fitting(parts, fill)}
    elif isinstance(value, list) and get_origin(arm) is list:
        made = [without_mistakes(item, arguments[0], fill) for item in value]
        kept = [None if item is UNSET else item for item in made]
    elif isinstance(value, dict) and get_origin(arm) is dict:
        parts = {key: (item, arguments[1]) for key, item in value.items() if _refused(key, arguments[0]) is None}
        kept = _fitting(parts, fill)
    return kept if _refused(kept, kind) is None else UNSET


def _fitting(parts: Mapping[str, tuple[Any, Any]], fill: Mapping[type[Struct], Mapping[str, Any]]) -> dict[str, Any]:
    made = {key: without_mistakes(item, kind, fill) for key, (item, kind) in parts.items()}
    return {key: item for key, item in made.items() if item is not UNSET}


def mistakes(document: Document, value: Any, kind: Any, keys: Keys) -> Iterator[FileProblem]:
    """Yield the mistakes below `value`; only without any, the mistake of it as a whole."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        within = _within(document, value, _arm(value, kind), keys)
        first = next(within, None)
        known = _unit_missing(value, kind) or _extra(kind, EXPECTED) or _of_few(value, _arm(value, kind))
        yield first or document.problem(keys, known or _readable(error) + _in_quotes(value, kind))
        yield from within


def _within(document: Document, value: Any, kind: Any, keys: Keys) -> Iterator[FileProblem]:
    arguments = get_args(kind)
    if isinstance(kind, type) and issubclass(kind, Struct) and isinstance(value, dict):
        yield from _in_struct(document, value, kind, keys)
    elif isinstance(value, list) and get_origin(kind) is list:
        for at, item in enumerate(value):
            yield from mistakes(document, item, arguments[0], (*keys, at))
    elif isinstance(value, dict) and get_origin(kind) is dict:
        for key in value:
            if (error := _refused(key, arguments[0])) is not None:
                text = _of_few(key, _arm(key, arguments[0])) or _readable(error)
                yield document.problem((*keys, key), text, at_key=True)
        for key, item in value.items():
            yield from mistakes(document, item, arguments[1], (*keys, key))


def _in_struct(document: Document, value: dict[str, Any], kind: type[Struct], keys: Keys) -> Iterator[FileProblem]:
    hints = _hints(kind)
    known = {field.encode_name: field for field in fields(kind)}
    for key in value:
        if key not in known and kind.__struct_config__.forbid_unknown_fields:
            yield document.problem((*keys, key), _unknown(key, kind, list(known)), at_key=True)
    for name, field in known.items():
        if name in value:
            yield from mistakes(document, value[name], hints[field.name], (*keys, name))
        elif field.required:
            yield document.problem(keys, f"the key '{name}' is missing")


@cache
def _hints(kind: type[Struct]) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _arm(value: Any, kind: Any) -> Any:
    """Return the type without its constraints; of a union, the arm for a value of this shape."""
    if get_origin(kind) is Annotated:
        return _arm(value, get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        arms = [_arm(value, arm) for arm in get_args(kind) if arm is not NoneType]
        return next((arm for arm in arms if _is_built_like(value, arm)), arms[0])
    return kind


def _is_built_like(value: Any, kind: Any) -> bool:
    origin = get_origin(kind) or kind
    if origin is Literal:
        return any(type(value) is type(choice) for choice in get_args(kind))
    if isinstance(value, dict):
        return isinstance(origin, type) and issubclass(origin, Struct | dict)
    return isinstance(origin, type) and isinstance(value, origin)


def _refused(value: Any, kind: Any) -> msgspec.ValidationError | None:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        return error
    return None


def _unknown(key: str, kind: type[Struct], known: list[str]) -> str:
    """Return the message; `OTHER_KEYS` of a struct has advice for keys of other formats."""
    instead = getattr(kind, "OTHER_KEYS", {}).get(key)
    if instead is not None:
        return f"unknown key '{key}'; {instead}"
    return f"unknown key '{key}'" + (near(key, known) or f"; known are {', '.join(known)}")


def _extra(kind: Any, key: str) -> Any:
    """Return what a type says of itself under this key of `Meta.extra`; "" where it says nothing."""
    metas = kind.__metadata__ if get_origin(kind) is Annotated else ()
    own = [(meta.extra or {}).get(key, "") for meta in metas if isinstance(meta, Meta)]
    arms = get_args(kind)[:1] if metas else get_args(kind) if get_origin(kind) in (Union, UnionType) else ()
    return next(filter(None, [*own, *(_extra(arm, key) for arm in arms)]), "")


def without_unit(number: str) -> str:
    """Return the message about a duration that is only a number."""
    short = number[:20]
    return f"{short} has no unit: {short}s, {short}m or {short}h?"


def _unit_missing(value: Any, kind: Any) -> str:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return without_unit(str(value)) if is_number and _extra(kind, "duration") else ""


def _of_few(value: Any, kind: Any) -> str | None:
    """Return the mistake of a text other than a few literals; None for other values."""
    known = [choice for choice in get_args(kind) if isinstance(choice, str)] if get_origin(kind) is Literal else []
    if not known or not isinstance(value, str):
        return None
    return f"'{value}' is none of {', '.join(known)}{near(value, known)}"


def _in_quotes(value: Any, kind: Any) -> str:
    """Return advice where a text is expected: a rule called `no` is `false` to YAML, and `group: web` is a mapping."""
    if _arm("", kind) is not str:
        return ""
    if isinstance(value, bool):
        return ": YAML reads yes, no, on and off as true or false; write a text in quotes"
    if isinstance(value, dict) and len(value) == 1:
        return ": YAML reads a colon and a space as a mapping; write a text without the space, in quotes"
    return ""


def _readable(error: msgspec.ValidationError) -> str:
    return plain_words(str(error).partition(" - at `")[0])
