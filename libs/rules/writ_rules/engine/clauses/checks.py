"""Checks of a constraint on one value, key by key of the format.

Types are strict: a bool is no int, an int is a float. A check which does not apply to the value's type is unanswerable,
and its rule errs. Loading a policy finds such a rule before it errs in a decision.
"""

from collections.abc import Iterator
from typing import Any, Protocol

from msgspec import Struct, structs

from writ_rules.engine.clauses.case import show
from writ_rules.engine.clauses.patterns import Pattern, pattern
from writ_rules.engine.policy_file.format import AttributeConstraint, Constraint, present


class UnanswerableCheck(Exception):
    """Raised when a check can't be judged on this value; the message gives the reason, without the value. `need`: the
    missing list.
    """

    def __init__(self, message: str, *, need: str = "") -> None:
        super().__init__(message)
        self.need = need


class Check(Protocol):
    """One check on a value."""

    @property
    def clause(self) -> str:
        """Return the check's key in the policy format."""

    @property
    def expected(self) -> str:
        """Return the requirement, for people."""

    @property
    def tells(self) -> bool:
        """Return whether `expected` reveals a permitted or an excluded value; if so, it must not be shown for a secret
        one.
        """

    def holds(self, value: Any) -> bool:
        """Return whether the value passes. Raises UnanswerableCheck."""


# Built once: a union type in an expression is built again for each request.
NUMBERS, SIZED, MANY = (int, float), (str, list, dict), (list, dict)


class TypeCheck(Struct, frozen=True):
    """The check of `type`."""

    expected: str
    clause: str = "type"
    tells: bool = False

    def holds(self, value: Any) -> bool:
        return has_type(value, self.expected)


class NumberLimit(Struct, frozen=True):
    """The check of `min` or `max`: inclusive, for numbers."""

    clause: str
    limit: int | float
    expected: str
    tells: bool = False

    def holds(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, NUMBERS):
            raise UnanswerableCheck("not a number")
        return bool(value >= self.limit) if self.clause == "min" else bool(value <= self.limit)


class LengthCheck(Struct, frozen=True):
    """The check of `min_length` or `max_length`: inclusive, characters of a string or items of a list or mapping."""

    clause: str
    limit: int
    expected: str
    tells: bool = False

    def holds(self, value: Any) -> bool:
        if not isinstance(value, SIZED):
            raise UnanswerableCheck("has no length")
        return len(value) >= self.limit if self.clause == "min_length" else len(value) <= self.limit


class ValuesCheck(Struct, frozen=True):
    """The check of `allowed_values` or `denied_values`: scalars; true is not 1. `kinds` are the comparable ones; None:
    any.
    """

    clause: str
    values: frozenset[tuple[bool, Any]]
    expected: str
    kinds: frozenset[str] | None = None
    tells: bool = True

    def holds(self, value: Any) -> bool:
        if isinstance(value, MANY):
            raise UnanswerableCheck("not a single value")
        if self.kinds is not None and kind(value) not in self.kinds:
            # Text "1" against number 1: if these differed, a deny rule would not stop what it was written to stop.
            raise UnanswerableCheck(f"a {kind(value)}, which none of the values is")
        is_listed = plain(value) in self.values
        return is_listed if self.clause == "allowed_values" else not is_listed


class ItemsCheck(Struct, frozen=True):
    """The check of `allowed_items`: each item of the list is one of these values."""

    values: ValuesCheck
    expected: str
    clause: str = "allowed_items"
    tells: bool = True

    def holds(self, value: Any) -> bool:
        """Return whether all items are listed. An item that certainly fails outweighs one that cannot be compared."""
        if not isinstance(value, list):
            raise UnanswerableCheck("not a list")
        erred: UnanswerableCheck | None = None
        for item in value:
            try:
                if not self.values.holds(item):
                    return False
            except UnanswerableCheck as error:
                erred = error
        if erred is not None:
            raise erred
        return True


class RequiredItemsCheck(Struct, frozen=True):
    """The check of `required_items`: the list has each of these values."""

    values: frozenset[tuple[bool, Any]]
    expected: str
    clause: str = "required_items"
    tells: bool = True

    def holds(self, value: Any) -> bool:
        if not isinstance(value, list):
            raise UnanswerableCheck("not a list")
        return self.values <= {plain(item) for item in value if not isinstance(item, MANY)}


class PatternCheck(Struct, frozen=True):
    """The check of `pattern`: it must match the whole string."""

    pattern: Pattern
    expected: str
    clause: str = "pattern"
    tells: bool = True

    def holds(self, value: Any) -> bool:
        if not isinstance(value, str):
            raise UnanswerableCheck("not a string")
        try:
            return self.pattern.covers(value)
        except UnicodeEncodeError as error:
            raise UnanswerableCheck("not valid text") from error


def has_type(value: Any, name: str) -> bool:
    if type(value) is _types[name]:
        return True
    if isinstance(value, bool):
        return name == "bool"
    if isinstance(value, int):
        return name in ("int", "float")
    return isinstance(value, _types[name])


_types: dict[str, type] = {"string": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict}


def kind(value: Any) -> str:
    """Return the kind of a scalar: values of different kinds can't be compared."""
    if isinstance(value, bool):
        return "truth value"
    return "number" if isinstance(value, NUMBERS) else "text"


def whole(value: Any) -> Any:
    """Return 60.0 of a policy as 60 of a request."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def checks(constraint: Constraint | AttributeConstraint, *, deny: bool) -> tuple[Check, ...]:
    """Return the checks of a constraint on the value alone; raises ValueError for a bad pattern."""
    result: list[Check] = []
    if constraint.type is not None:
        result.append(TypeCheck(constraint.type))
    if constraint.min is not None:
        result.append(NumberLimit("min", constraint.min, f"at least {constraint.min}"))
    if constraint.max is not None:
        result.append(NumberLimit("max", constraint.max, f"at most {constraint.max}"))
    if constraint.min_length is not None:
        result.append(LengthCheck("min_length", constraint.min_length, f"at least {constraint.min_length} long"))
    if constraint.max_length is not None:
        result.append(LengthCheck("max_length", constraint.max_length, f"at most {constraint.max_length} long"))
    if constraint.allowed_values is not None:
        result.append(_values("allowed_values", "one of ", constraint, constraint.allowed_values))
    if constraint.denied_values is not None:
        result.append(_values("denied_values", "none of ", constraint, constraint.denied_values))
    if constraint.pattern is not None:
        result.append(PatternCheck(pattern(constraint.pattern, deny=deny), constraint.pattern[:160]))
    return (*result, *(_item_checks(constraint) if isinstance(constraint, Constraint) else ()))


def _item_checks(constraint: Constraint) -> Iterator[Check]:
    if constraint.allowed_items is not None:
        values = _values("allowed_values", "each one of ", constraint, constraint.allowed_items)
        yield ItemsCheck(values, values.expected)
    if constraint.required_items is not None:
        items = present(constraint.required_items)
        yield RequiredItemsCheck(frozenset(map(plain, items)), f"with each of {show(items)}")


def _values(clause: str, word: str, constraint: Constraint | AttributeConstraint, values: list[Any]) -> ValuesCheck:
    """Return the check of a list of values. An empty list has no kind to compare by: a parameter always fails it, an
    attribute can't be judged.
    """
    listed = present(values)
    made = values_of(clause, word + show(listed), listed)
    return made if listed or isinstance(constraint, AttributeConstraint) else structs.replace(made, kinds=None)


def values_of(clause: str, expected: str, values: list[Any]) -> ValuesCheck:
    """Return the check against these values."""
    return ValuesCheck(clause, frozenset(map(plain, values)), expected, frozenset(map(kind, values)))


def plain(value: Any) -> tuple[bool, Any]:
    """Return a scalar in comparable form: 1 is 1.0, and true is not 1."""
    return isinstance(value, bool), value
