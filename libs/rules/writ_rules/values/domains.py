"""Domains of parameters: the values the operation's schema and a constraint permit. Only certain statements are
made.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from math import ceil, floor, inf
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct, structs

from writ_contracts.parameters import defaults
from writ_rules.engine.clauses.checks import Check, UnanswerableCheck, checks, plain, whole
from writ_rules.engine.policy_file.format import Constraint, present
from writ_rules.engine.rules.lint import FITS, suited
from writ_rules.engine.verbs import Verb
from writ_rules.values.automata import PatternComparisons

NUMBERS = frozenset({"int", "float"})
SIZED = frozenset({"string", "list", "dict"})
SCALARS = frozenset({"string", "int", "float", "bool"})


class Domain(Struct, frozen=True, kw_only=True):
    """The values the schema permits: types, limits of value and length, and all values where these are few.

    `nullable`: null is permitted. `optional`: it may be left out. `default`: the catalogue's, None for none.
    """

    types: frozenset[str]
    least: float
    most: float
    shortest: float
    longest: float
    values: tuple[Any, ...] | None
    nullable: bool
    optional: bool
    default: Any

    @property
    def may_be_missing(self) -> bool:
        """Return whether a request can come without a value, if no rule fills one in."""
        return self.nullable or (self.optional and self.default is None)


def domain(verb: Verb, name: str) -> Domain:
    return _domains(verb)[name]


def metas(verb: Verb, name: str) -> tuple[Meta, ...]:
    """Return the schema's requirements for the parameter, besides its type."""
    return tuple(meta for _, arm_metas in _arms(verb.hints[name], ()) for meta in arm_metas)


@lru_cache(maxsize=256)
def _domains(verb: Verb) -> dict[str, Domain]:
    known = defaults(verb.operation.parameters)
    return {
        field.name: _domain(verb, field.name, optional=not field.required, default=known.get(field.name))
        for field in structs.fields(verb.operation.parameters)
    }


def _domain(verb: Verb, name: str, *, optional: bool, default: Any) -> Domain:
    arms = list(_arms(verb.hints[name], ()))
    kinds = [(kind, metas) for kind, metas in arms if kind is not NoneType]
    (kind, metas) = kinds[0] if len(kinds) == 1 else (None, ())
    least = [(meta.ge if meta.ge is not None else meta.gt) for meta in metas]
    most = [(meta.le if meta.le is not None else meta.lt) for meta in metas]
    return Domain(
        types=verb.types[name],
        least=max((limit for limit in least if limit is not None), default=-inf),
        most=min((limit for limit in most if limit is not None), default=inf),
        shortest=max((meta.min_length for meta in metas if meta.min_length is not None), default=0),
        longest=min((meta.max_length for meta in metas if meta.max_length is not None), default=inf),
        values=_few(kind),
        nullable=len(kinds) < len(arms),
        optional=optional,
        default=default,
    )


def _arms(hint: Any, metas: tuple[Meta, ...]) -> Iterator[tuple[Any, tuple[Meta, ...]]]:
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *more = get_args(hint)
        yield from _arms(inner, (*metas, *(meta for meta in more if isinstance(meta, Meta))))
    elif origin in (Union, UnionType):
        for arm in get_args(hint):
            yield from _arms(arm, metas)
    else:
        yield hint, metas


def _few(kind: Any) -> tuple[Any, ...] | None:
    if kind is bool:
        return (False, True)
    return get_args(kind) if get_origin(kind) is Literal else None


def fits(known: Domain, constraint: Constraint) -> bool:
    """Return whether each check of the constraint can be judged on each value of its type."""
    if constraint.allowlist_source is not None:
        return False
    required = (suited(constraint, key) for key in FITS if getattr(constraint, key) is not None)
    return all(known.types <= types or constraint.type in types for types in required)


def accepted(verb: Verb, name: str, constraint: Constraint, *, deny: bool) -> tuple[Any, ...] | None:
    """Return all values permitted by both schema and constraint, where these are few; None where they may be many."""
    known = domain(verb, name)
    values = present(constraint.allowed_values) if constraint.allowed_values is not None else known.values
    if values is None:
        return None
    required = checks(constraint, deny=deny)
    return tuple(value for value in taken(verb.hints[name], values) if _all_hold(required, value))


def taken(hint: Any, values: Iterable[Any]) -> Iterator[Any]:
    """Yield the values a parameter of this type accepts, as it converts them: 1 for a float is 1.0."""
    for value in values:
        if not isinstance(value, str):
            yield from _taken(hint, whole(value))
        else:
            yield from _taken_text(hint, value)


def _taken(hint: Any, value: Any) -> tuple[Any, ...]:
    try:
        return (msgspec.to_builtins(msgspec.convert(value, hint)),)
    except msgspec.ValidationError:
        return ()


_taken_text = lru_cache(maxsize=4096)(_taken)
"""Texts are tried again for each of many rules."""


def impossible(
    verb: Verb, name: str, constraint: Constraint, patterns: PatternComparisons, *, deny: bool
) -> str | None:
    """Return the reason why schema and constraint together permit no value; None if there may be one."""
    known = domain(verb, name)
    if not fits(known, constraint):
        return None
    if accepted(verb, name, constraint, deny=deny) == ():
        return "none of its values is one that the operation takes and that the constraint allows"
    least, most = bounds(known, constraint)
    if known.types <= NUMBERS and (least > most or (known.types == {"int"} and _no_whole_number(least, most))):
        return f"no number is at least {_text_of(least)} and at most {_text_of(most)}"
    shortest, longest = lengths(known, constraint)
    if known.types <= SIZED and shortest > longest:
        return f"nothing is at least {_text_of(shortest)} and at most {_text_of(longest)} long"
    if known.types == {"string"}:
        return _no_text(verb, name, constraint, patterns, longest)
    return _no_list(constraint) if known.types == {"list"} else None


def _no_text(verb: Verb, name: str, constraint: Constraint, patterns: PatternComparisons, longest: float) -> str | None:
    """Return the reason why no text fits the pattern, the operation's own grammar and the greatest length."""
    if constraint.pattern is None:
        return None
    grammars = [meta.pattern for meta in metas(verb, name) if meta.pattern is not None]
    needed = max((patterns.shortest(each, constraint.pattern) for each in grammars), default=0)
    if needed == inf:
        return f"no {name} that the operation takes fits the pattern"
    return None if needed <= longest else f"what fits the pattern is longer than {_text_of(longest)}"


def _no_list(constraint: Constraint) -> str | None:
    """Return the reason why no list has the required items and no others than the allowed ones."""
    if constraint.allowed_items is None:
        return None
    allowed = set(map(plain, present(constraint.allowed_items)))
    beyond = [item for item in present(constraint.required_items) if plain(item) not in allowed]
    return f"allowed_items lacks '{beyond[0]}' of required_items" if beyond else None


def bounds(known: Domain, constraint: Constraint) -> tuple[float, float]:
    """Return the least and the greatest value permitted by both."""
    least = known.least if constraint.min is None else max(known.least, constraint.min)
    most = known.most if constraint.max is None else min(known.most, constraint.max)
    return least, most


def lengths(known: Domain, constraint: Constraint) -> tuple[float, float]:
    """Return the least and the greatest length permitted by both."""
    shortest = max(known.shortest, constraint.min_length or 0, len(set(map(plain, present(constraint.required_items)))))
    longest = known.longest if constraint.max_length is None else min(known.longest, constraint.max_length)
    return shortest, longest


def takes(constraint: Constraint, value: Any, *, deny: bool) -> bool | None:
    """Return whether a constraint permits a value; None if it can't judge."""
    answers = [_holds(check, value) for check in checks(constraint, deny=deny)]
    if False in answers:
        return False
    return None if None in answers else True


def _all_hold(required: Iterable[Check], value: Any) -> bool:
    return all(_holds(check, value) for check in required)


def _holds(check: Check, value: Any) -> bool | None:
    try:
        return check.holds(value)
    except UnanswerableCheck:
        return None


def _no_whole_number(least: float, most: float) -> bool:
    return -inf < least and most < inf and ceil(least) > floor(most)


def _text_of(limit: float) -> str:
    return f"{limit:g}"
