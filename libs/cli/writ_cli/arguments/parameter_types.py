"""The types of an operation's parameters, as far as words on a command line depend on them."""

from collections.abc import Mapping

from msgspec import Struct, inspect

Types = Mapping[str, inspect.Type]


def types_of(parameters: type[Struct]) -> Types:
    """Return the type of each field; for `X | None` it is X."""
    info = inspect.type_info(parameters)
    assert isinstance(info, inspect.StructType)  # noqa: S101 - what a struct's type info is
    return {field.encode_name: plain(field.type) for field in info.fields}


def values_of(parameters: type[Struct], name: str) -> list[str]:
    """Return the values of a parameter with a closed set of them, as one writes them; none for another parameter."""
    match types_of(parameters).get(name):
        case inspect.BoolType():
            return ["true", "false"]
        case inspect.LiteralType() as literal:
            return [str(value) for value in literal.values]
        case _:
            return []


def plain(kind: inspect.Type) -> inspect.Type:
    """Return the type without its limits and without None."""
    if isinstance(kind, inspect.Metadata):
        return plain(kind.type)
    if isinstance(kind, inspect.UnionType):
        arms = [arm for arm in kind.types if not isinstance(arm, inspect.NoneType)]
        return plain(arms[0]) if len(arms) == 1 else kind
    return kind
