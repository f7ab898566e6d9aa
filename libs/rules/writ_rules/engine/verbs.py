"""The catalogue's operations in the form needed by policies: parameters, their types, and the public ones."""

from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct, inspect

from writ_contracts.inventory import WRIT, Target
from writ_contracts.operations import Catalogue, Operation, has_operation
from writ_contracts.parameter_problems import mismatch
from writ_contracts.parameters import Class, Parameters, breakouts, classes

NAMES = {str: "string", int: "int", float: "float", bool: "bool", list: "list", dict: "dict"}
ANY = frozenset(NAMES.values())


class Verb(Struct, frozen=True, eq=False):
    """One operation. `types` has the format's type names of each parameter; `breakouts` are flags refused unless a
    rule names them.
    """

    operation: Operation
    hints: dict[str, Any]
    types: dict[str, frozenset[str]]
    public: frozenset[str]
    breakouts: frozenset[str]

    def refuses(self, parameter: str, value: Any) -> str | None:
        """Return what the operation's own schema says of a value that it refuses: ` must be …`; None if it takes it."""
        try:
            msgspec.convert(value, self.hints[parameter])
        except msgspec.ValidationError as error:
            return mismatch(inspect.type_info(self.hints[parameter]), error)
        return None


def verbs(catalogue: Catalogue) -> dict[str, Verb]:
    return {name: Verb(operation, *_described(operation.parameters)) for name, operation in catalogue.items()}


@cache  # a policy's load needs all of them several times, each from the type hints of a class
def _described(
    parameters: type[Parameters],
) -> tuple[dict[str, Any], dict[str, frozenset[str]], frozenset[str], frozenset[str]]:
    """Return the fields of a Verb after the first. An operation of a plugin need not be hashable; its class is."""
    hints = get_type_hints(parameters, include_extras=True)
    hints = {name: hints[name] for name in parameters.__struct_fields__}
    public = frozenset(name for name, kind in classes(parameters).items() if kind is Class.PUBLIC)
    return hints, {name: _types(hint) for name, hint in hints.items()}, public, breakouts(parameters)


def _types(hint: Any) -> frozenset[str]:
    origin = get_origin(hint)
    if origin is Annotated:
        return _types(get_args(hint)[0])
    if origin in (Union, UnionType):
        arms = [_types(arm) for arm in get_args(hint) if arm is not NoneType]
        return frozenset[str]().union(*arms)
    if origin is Literal:
        return frozenset(NAMES[type(choice)] for choice in get_args(hint))
    kind = origin or hint
    if isinstance(kind, type) and issubclass(kind, Struct):
        return frozenset({"dict"})
    return frozenset({NAMES[kind]}) if kind in NAMES else ANY


def offered(target: Target, operation: Operation) -> bool:
    """Return whether the target has this operation: Writ itself has the control operations, and no other target has."""
    if operation.control:
        return target.id == WRIT.id
    return target.id != WRIT.id and has_operation(target, operation)
