"""A document against a msgspec type: the value, or every mistake in it at once, each with its place.

msgspec stops at the first mistake, so a document that converts costs one call, and only one that doesn't is walked.
Unknown keys are named with the nearest known one, in structs that forbid them.
"""

from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from writ_runtime.documents import Document, FileErrors, Keys, Problem

Shape = TypeVar("Shape")


def convert(document: Document, kind: type[Shape]) -> Shape:
    """The document's data as `kind`; FileErrors with all that doesn't fit."""
    try:
        return msgspec.convert(document.data, kind)
    except msgspec.ValidationError as error:
        found = _mistakes(document, document.data, kind, ())
        raise FileErrors(*found or [document.problem((), str(error))]) from error


def _mistakes(document: Document, value: Any, kind: Any, keys: Keys) -> list[Problem]:
    """What is wrong below `value`; only if nothing is, what is wrong with it as a whole."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        within = _within(document, value, _arm(value, kind), keys)
        return within or [document.problem(keys, _said(error))]
    return []


def _within(document: Document, value: Any, kind: Any, keys: Keys) -> list[Problem]:
    arguments = get_args(kind)
    if isinstance(kind, type) and issubclass(kind, Struct) and isinstance(value, dict):
        return _in_struct(document, value, kind, keys)
    if isinstance(value, list) and arguments:
        return [
            problem for at, item in enumerate(value) for problem in _mistakes(document, item, arguments[0], (*keys, at))
        ]
    if isinstance(value, dict) and len(arguments) == 2:
        bad_keys = [
            document.problem((*keys, key), _said(error), at_key=True)
            for key in value
            if (error := _refused(key, arguments[0])) is not None
        ]
        return bad_keys + [
            problem for key, item in value.items() for problem in _mistakes(document, item, arguments[1], (*keys, key))
        ]
    return []


def _in_struct(document: Document, value: dict[str, Any], kind: type[Struct], keys: Keys) -> list[Problem]:
    hints = get_type_hints(kind, include_extras=True)
    known = {field.encode_name: field for field in fields(kind)}
    found = [
        document.problem((*keys, key), _unknown(key, list(known)), at_key=True)
        for key in value
        if key not in known and kind.__struct_config__.forbid_unknown_fields
    ]
    for name, field in known.items():
        if name in value:
            found += _mistakes(document, value[name], hints[field.name], (*keys, name))
        elif field.required:
            found.append(document.problem(keys, f"the key '{name}' is missing"))
    return found


def _arm(value: Any, kind: Any) -> Any:
    """The type without its constraints; of a union, the arm that a value of this build is meant for."""
    if get_origin(kind) is Annotated:
        return _arm(value, get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        arms = [_arm(value, arm) for arm in get_args(kind) if arm is not NoneType]
        return next((arm for arm in arms if _is_built_like(value, arm)), arms[0])
    return kind


def _is_built_like(value: Any, kind: Any) -> bool:
    origin = get_origin(kind) or kind
    if isinstance(value, dict):
        return isinstance(origin, type) and issubclass(origin, Struct | dict)
    return isinstance(origin, type) and isinstance(value, origin)


def _refused(value: Any, kind: Any) -> msgspec.ValidationError | None:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        return error
    return None


def _unknown(key: str, known: list[str]) -> str:
    near = get_close_matches(key, known, n=1)
    return f"unknown key '{key}'" + (f"; did you mean '{near[0]}'?" if near else f"; known are {', '.join(known)}")


def _said(error: msgspec.ValidationError) -> str:
    text = str(error).partition(" - at `")[0]
    return text[:1].lower() + text[1:]
