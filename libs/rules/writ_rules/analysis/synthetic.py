"""Targets and principals derived from the policies, for an analysis without inventory or principals.

Every rule gets a subject within its scope; every clause gets one inside and one outside. The role, tags or roles of a
named id are unknown, so there is one variant for each: several targets, or principals, with one id, of which a request
has one.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import chain, combinations, count, islice, product
from math import prod
from typing import Any, TypeVar, get_args

from msgspec.json import encode

from writ_contracts.inventory import WRIT, Kind, Principal, Role, Target
from writ_contracts.operations import Operation
from writ_documents.readers import NOBODYS_KEY
from writ_rules.engine.clauses import scopes
from writ_rules.engine.clauses.conditions import AttributeCondition
from writ_rules.engine.rules.rule import Rule
from writ_rules.values.combinations import spread_over
from writ_rules.values.samples import suggestions

Item = TypeVar("Item")
MOST_TARGETS, MOST_PRINCIPALS, MOST_ROLES, MOST_VALUES = 2_000, 600, 6, 8
ROLES: tuple[Role, ...] = get_args(Role)
GATEWAY = "some-gateway"


def targets(operation: Operation, rules: Iterable[Rule]) -> list[Target]:
    """Return targets of each role, alone and behind a gateway, with and without each id, tag and attribute the rules
    name.
    """
    if operation.control:
        return [WRIT]
    listed = list(rules)
    places, axes = _target_axes(operation, listed)
    about = _first_of_each(_about(rule, operation) for rule in listed)
    made = [*about, *spread_over(places, axes, MOST_TARGETS)]
    distinct: dict[object, Target] = {}
    taken = {name for *_, name in made if name}
    for (role, gateway), owned, attributes, name in made:
        if gateway and role == "gateway":
            continue
        words = [role, *owned, *(str(value) for value in attributes.values()), *(["behind"] if gateway else [])]
        key = (role, gateway, owned, encode(attributes, order="sorted"), name)
        if key not in distinct and len(distinct) < MOST_TARGETS:
            distinct[key] = Target(
                id=name or _unused(_token(*words), taken),
                role=role,
                backend=operation.backends[0],
                docker={} if operation.on_engine else None,
                gateway=gateway or None,
                tags=list(owned),
                attributes=dict(attributes),
            )
    return list(distinct.values())


def principals(rules: Iterable[Rule], least: int = 0) -> list[Principal]:
    """Return principals of each kind, with and without each role the rules name, alone and two at a time; and each
    named user. `least`: how many may be made in any case, such as one for each of the first rules.
    """
    listed = list(rules)
    most = max(MOST_PRINCIPALS, min(least, MOST_TARGETS))
    kinds, axes = _principal_axes(listed)
    made = [*_first_of_each(_by(rule) for rule in listed), *spread_over(kinds, axes, MOST_PRINCIPALS)]
    distinct: dict[object, Principal] = {}
    taken = {_token(name) for *_, name in made if name}
    for kind, owned, name in made:
        key = (kind, owned, name)
        if key not in distinct and len(distinct) < most:
            token = _token(name) if name else _unused(_token(kind, *owned), taken)
            distinct[key] = _principal(token, kind, owned)
    return list(distinct.values())


def too_many(operation: Operation, rules: Iterable[Rule], *, of_targets: bool, of_principals: bool) -> Iterator[str]:
    """Yield a note for each kind with more combinations than are derived."""
    listed = list(rules)
    counted = [(MOST_TARGETS, "targets", _target_axes(operation, listed))] if of_targets else []
    counted += [(MOST_PRINCIPALS, "principals", _principal_axes(listed))] if of_principals else []
    for most, what, (places, axes) in counted:
        every = len(places) * prod(len(axis) for axis in axes)
        if every > most and not (operation.control and what == "targets"):
            yield f"of {every} kinds of {what}, {most} samples were generated"


def _target_axes(operation: Operation, rules: Iterable[Rule]) -> tuple[list[Any], list[list[Any]]]:
    clauses_of_rules = [clause for rule in rules for clause in _clauses(rule, operation.name)]
    ids = list(dict.fromkeys(_id(text) for clause in clauses_of_rules for text in _names(clause)))
    tags = sorted({tag for clause in clauses_of_rules if isinstance(clause, scopes.TagClause) for tag in clause.tags})
    tag_sets = [(), *((tag,) for tag in tags), *([tuple(tags)] if len(tags) > 1 else [])]
    return list(product(ROLES, ("", GATEWAY))), [tag_sets, _attributes(clauses_of_rules), [None, *ids]]


def _principal_axes(rules: Iterable[Rule]) -> tuple[list[Any], list[list[Any]]]:
    clauses_of_rules = [clause for rule in rules for clause in rule.people]
    users = sorted(
        {who for clause in clauses_of_rules if isinstance(clause, scopes.PrincipalClause) for who in clause.ids}
    )
    roles = sorted(
        {role for clause in clauses_of_rules if isinstance(clause, scopes.UserRoles) for role in clause.roles}
    )
    sets = [(), *((role,) for role in roles)]
    sets += list(combinations(roles, 2)) if len(roles) <= MOST_ROLES else []
    sets += [tuple(roles)] if len(roles) > 2 else []
    return list(get_args(Kind)), [sets, [None, *users]]


def _first_of_each(several: Iterable[Iterable[Item]]) -> list[Item]:
    """Return the items, the first of each iterable before all others: if there are too many, no rule is left out."""
    rows = [list(items) for items in several]
    return [*(row[0] for row in rows if row), *(item for row in rows for item in row[1:])]


def _about(rule: Rule, operation: Operation) -> Iterator[tuple[Any, ...]]:
    """Yield targets in the rule's scope: of each of its roles, with the first of its ids and tags, and its
    attributes.
    """
    clauses_of_rules = list(_clauses(rule, operation.name))
    name = next((_id(text) for clause in clauses_of_rules for text in _names(clause)), None)
    tags = tuple(
        sorted(min(clause.tags) for clause in clauses_of_rules if isinstance(clause, scopes.TagClause) and clause.tags)
    )
    values = {
        clause.name: _fitting_values(clause) for clause in clauses_of_rules if isinstance(clause, AttributeCondition)
    }
    for each in islice(product(*values.values()), MOST_VALUES):
        for role, gateway in product(sorted(rule.roles or ROLES), ("", GATEWAY)):
            yield (role, gateway), tags, dict(zip(values, each, strict=True)), name
        for role in ROLES if rule.inherited else ():
            yield (role, GATEWAY), tags, dict(zip(values, each, strict=True)), name


def _by(rule: Rule) -> Iterator[tuple[Any, ...]]:
    """Yield principals in the rule's scope: of each of its kinds, with one of its roles, as one of its users."""
    kinds = [kind for clause in rule.people if isinstance(clause, scopes.KindClause) for kind in sorted(clause.kinds)]
    roles = tuple(min(clause.roles) for clause in rule.people if isinstance(clause, scopes.UserRoles) and clause.roles)
    users = [min(clause.ids) for clause in rule.people if isinstance(clause, scopes.PrincipalClause) and clause.ids]
    for kind in kinds or get_args(Kind):
        yield kind, roles, users[0] if users else None


def approvers(steps: Iterable[Any]) -> list[Principal]:
    """Return enough humans for these approval steps, each with one role."""
    quorums: dict[str, int] = {}
    for step in steps:
        quorums[step.approvers[0]] = quorums.get(step.approvers[0], 0) + step.quorum
    return [
        _principal(_token(role, str(number + 1)), "human", (role,))
        for role, count in quorums.items()
        for number in range(min(count, 20))
    ]


def _principal(principal_id: str, kind: Kind, roles: tuple[str, ...]) -> Principal:
    acts_for = "some-human" if kind == "agent" else None
    return Principal(id=principal_id, kind=kind, key=NOBODYS_KEY, roles=list(roles), acts_for=acts_for)


def _clauses(rule: Rule, operation: str) -> Iterator[Any]:
    yield from rule.scope
    yield from rule.conditions.get(operation, ())


def _names(clause: Any) -> Iterator[str]:
    if isinstance(clause, scopes.TargetClause):
        yield from sorted(clause.ids)
        yield from (glob.text for glob in clause.globs)


def _attributes(clauses_of_rules: Iterable[Any]) -> list[dict[str, Any]]:
    """Return no attributes, each constrained value alone, and the first value of each together."""
    distinct: dict[str, dict[str, Any]] = {}
    for clause in clauses_of_rules:
        if isinstance(clause, AttributeCondition):
            for value in _fitting_values(clause):
                distinct.setdefault(clause.name, {})[f"{type(value).__name__} {value}"] = value
    alone = [{name: value} for name, values in distinct.items() for value in values.values()]
    together = {name: next(iter(values.values())) for name, values in distinct.items() if values}
    return [{}, *alone, *([together] if len(together) > 1 else [])]


def _fitting_values(clause: AttributeCondition) -> list[Any]:
    return [value for check in clause.checks for value in suggestions(check)][:MOST_VALUES]


def _id(text: str) -> str:
    """Return an id covered by the text, which is an id or a pattern made of a glob."""
    plain = text.replace(".*", "x").replace("\\", "")
    return _token(plain.replace(".", "x"))


def _token(*words: str) -> str:
    return re.sub("[^A-Za-z0-9_-]", "-", "-".join(words))[:56] or "x"


def _unused(name: str, taken: set[str]) -> str:
    """Return the name, or its first free numbered variant, and mark it as taken."""
    numbered = (f"{name}-{at}" for at in count(2))
    free = next(each for each in chain([name], numbered) if each not in taken)
    taken.add(free)
    return free
