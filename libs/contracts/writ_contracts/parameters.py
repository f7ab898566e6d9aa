"""Types, classes and checks of parameters and outputs.

A field's class is public, sensitive or secret, and secret by default: a field without a class stays out of the journal.
Unknown fields are refused, `bool` is no `int`, and strings match to their very end.
"""

from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from writ_contracts.errors import Invalid
from writ_contracts.parameter_problems import each_problem, parameter_problems


class Class(StrEnum):
    """The visibility of a value: the journal has public ones in full, a digest of sensitive ones, and nothing of secret
    ones. Keyed ones are digests of something secret: the journal has a digest of them under a key for the target, so
    that readers can see which are equal, and guess none.
    """

    PUBLIC = "public"
    KEYED = "keyed"
    SENSITIVE = "sensitive"
    SECRET = "secret"


PUBLIC = Meta(extra={"writ_class": Class.PUBLIC})
KEYED = Meta(extra={"writ_class": Class.KEYED})
SENSITIVE = Meta(extra={"writ_class": Class.SENSITIVE})
CONTENTS = Meta(extra={"writ_class": Class.PUBLIC, "writ_contents": True})
"""For an output that reveals contents: a preview shows it only to those who may read them."""
CONTENTS_DIGEST = Meta(extra={"writ_class": Class.SENSITIVE, "writ_unsearchable": True})
"""Of a parameter that is a digest of contents. It has no search digest: a search would confirm guesses of the contents.
"""
BREAKOUT = Meta(extra={"writ_class": Class.PUBLIC, "writ_breakout": True})
"""Of a flag that is refused by default: a rule allows a request with the flag only where it names the parameter."""

LONGEST_MESSAGE = 1000

Timeout = Annotated[int, Meta(ge=1, description="seconds until the operation is ended on the host"), PUBLIC]


class Parameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every operation's parameters; each operation states its own default and maximum `timeout`, in seconds."""


class Output(Struct, frozen=True, kw_only=True):
    """Base of every operation's output; tolerant, so an older reader reads a newer agent's."""


@cache
def classes(struct: type[Struct]) -> Mapping[str, Class]:
    """Return the class of each field, by name."""
    hints = get_type_hints(struct, include_extras=True)
    return MappingProxyType({name: _class_of(hints[name]) for name in struct.__struct_fields__})


def _class_of(hint: Any) -> Class:
    if get_origin(hint) is Annotated:
        for meta in reversed(get_args(hint)[1:]):
            if isinstance(meta, Meta) and meta.extra and "writ_class" in meta.extra:
                return Class(meta.extra["writ_class"])
    return Class.SECRET


@cache
def breakouts(struct: type[Struct]) -> frozenset[str]:
    """Return the names of the flags marked with BREAKOUT."""
    hints = get_type_hints(struct, include_extras=True)
    return frozenset(name for name in struct.__struct_fields__ if BREAKOUT in get_args(hints[name]))


def public(struct: type[Struct], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return only the public fields of `values`."""
    known = classes(struct)
    return {name: value for name, value in values.items() if known.get(name) is Class.PUBLIC}


def recorded(struct: type[Struct], values: Mapping[str, Any], keyed: Callable[[Any], str]) -> dict[str, Any]:
    """Return the fields of `values` for the journal: public ones, and keyed ones as their digests."""
    known = classes(struct)
    found = ((name, value, known.get(name)) for name, value in values.items())
    return {
        name: keyed(value) if kind is Class.KEYED and value else value
        for name, value, kind in found
        if kind in (Class.PUBLIC, Class.KEYED)
    }


def recorded_names(struct: type[Struct]) -> list[str]:
    """Return the names of the fields of which the journal has something."""
    return [name for name, kind in classes(struct).items() if kind in (Class.PUBLIC, Class.KEYED)]


@cache
def keyed_names(struct: type[Struct]) -> frozenset[str]:
    """Return the names of the fields of which the journal has keyed digests."""
    return frozenset(name for name, kind in classes(struct).items() if kind is Class.KEYED)


@cache
def telling(struct: type[Struct]) -> frozenset[str]:
    """Return the names of the fields that reveal contents: keyed ones, and those marked with CONTENTS."""
    hints = get_type_hints(struct, include_extras=True)
    marked = {name for name in struct.__struct_fields__ if CONTENTS in get_args(hints[name])}
    return frozenset(marked | keyed_names(struct))


@cache
def searchable(struct: type[Struct]) -> frozenset[str]:
    """Return the names of the parameters whose values a search may find though the journal does not have them: public
    and sensitive ones, without digests of contents. `timeout` has a field of its own in events.
    """
    hints = get_type_hints(struct, include_extras=True)
    kinds = (Class.PUBLIC, Class.SENSITIVE)
    return frozenset(
        name
        for name, kind in classes(struct).items()
        if kind in kinds and name != "timeout" and CONTENTS_DIGEST not in get_args(hints[name])
    )


def hidden(struct: type[Struct], values: Mapping[str, Any]) -> list[str]:
    """Return the sorted names of the sensitive and secret fields of `values`."""
    known = classes(struct)
    return sorted(name for name in values if known.get(name, Class.SECRET) is not Class.PUBLIC)


def check(struct: type[Struct], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` with the defaults applied, as plain data; an absent optional field stays absent.

    Raises Invalid (`invalid_parameters`) with all mistakes, naming the fields, never their values.
    """
    try:
        built = msgspec.to_builtins(msgspec.convert(dict(values), struct, strict=True))
    except msgspec.ValidationError as error:
        found = parameter_problems(struct, values, error)
        raise Invalid(found[:LONGEST_MESSAGE], code="invalid_parameters") from error
    except RecursionError as error:
        raise Invalid("nested too deeply", code="invalid_parameters") from error
    return {name: value for name, value in built.items() if value is not None}


def problems(struct: type[Struct], values: Mapping[str, Any], unread: Collection[str] = ()) -> list[str]:
    """Return all mistakes in `values`, naming the fields, never their values.

    `unread`: fields that were given, and whose values the caller could not read and reports itself.
    """
    try:
        msgspec.convert(dict(values), struct, strict=True)
    except msgspec.ValidationError as error:
        return each_problem(struct, values, error, unread)
    except RecursionError:
        return ["nested too deeply"]
    return []


def defaults(struct: type[Struct]) -> dict[str, Any]:
    """Return the catalogue's default of each field with a default other than None."""
    pairs = ((item.name, _default(item)) for item in _fields(struct))
    return {name: value for name, value in pairs if value is not None}


@cache
def _fields(struct: type[Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Return the fields. msgspec evaluates all annotations of the type for each call, which takes 40 µs."""
    return msgspec.structs.fields(struct)


def _default(item: msgspec.structs.FieldInfo) -> Any:
    if item.default_factory is not msgspec.NODEFAULT:
        return item.default_factory()
    return None if item.default is msgspec.NODEFAULT else item.default
