"""Implication between rules: one matches whenever another does. Each clause of the wider rule must follow from the
narrower one.

A yes is certain. Of two patterns only equality of their text is known.
"""

from collections.abc import Iterable
from typing import Any

from msgspec import json

from writ_rules.engine.clauses.checks import whole
from writ_rules.engine.clauses.patterns import glob
from writ_rules.engine.policy_file.format import Constraint, RuleEntry, present
from writ_rules.engine.policy_file.times import DAY, Window
from writ_rules.engine.rules.rule import named, needs_name
from writ_rules.engine.verbs import Verb
from writ_rules.lint.rule_reading import ALL_ROLES, CONDITIONS, RuleReading, Verbs
from writ_rules.values.domains import NUMBERS, SCALARS, SIZED, Domain, accepted, bounds, domain, lengths, takes

SCOPE = {"operations", "target_roles", "targets", "target_tags", "users", "user_roles", "principal_kinds"}
SCOPE |= {"effective_from", "expires_at", "inherit"}
OUTCOME = {"name", "allowed", "description", "enabled", "requires_approval", "approval", "approval_timeout"}
OUTCOME |= {"operation_timeout", "emergency_overridable", "max_targets", "max_concurrent"}
KNOWN = SCOPE | OUTCOME | {"parameter_constraints", "time_restrictions", *CONDITIONS}
UNKNOWN = tuple(sorted(set(RuleEntry.__struct_fields__) - KNOWN))
"""Keys this module does not know: two rules must have the same values for them."""
_WHOLE_WEEK = frozenset(range(7))


def implied(narrow: RuleReading, wide: RuleReading, verbs: Verbs) -> bool:
    """Return true if `wide` covers and matches every request covered or matched by `narrow`."""
    if not follows_by_bits(narrow, wide):
        return False
    return _scope(narrow, wide) and _conditions(narrow, wide, verbs)


def follows_by_bits(narrow: RuleReading, wide: RuleReading) -> bool:
    """Return the result of the quick test: sets of words, and the kinds of clauses."""
    return not narrow.about & ~wide.about and not wide.conditions & ~narrow.conditions


def _scope(narrow: RuleReading, wide: RuleReading) -> bool:
    if narrow.since < wide.since or narrow.until > wide.until:
        return False
    if narrow.inherited and not (wide.inherited or (not wide.entry.allowed and wide.roles >= ALL_ROLES)):
        return False
    return wide.entry.targets is None or (
        narrow.entry.targets is not None and _covers(present(wide.entry.targets), present(narrow.entry.targets))
    )


def _covers(wide: list[str], narrow: Iterable[str]) -> bool:
    return all(any(_glob_covers(one, other) for one in wide) for other in narrow)


def _glob_covers(wide: str, narrow: str) -> bool:
    if wide == narrow:
        return True
    if "*" not in narrow and "?" not in narrow:
        return glob(wide).covers(narrow) if "*" in wide or "?" in wide else False
    prefix = wide[:-1]
    if not wide.endswith("*") or "*" in prefix or "?" in prefix:
        return False
    return narrow.split("*", maxsplit=1)[0].split("?", maxsplit=1)[0].startswith(prefix)


def _conditions(narrow: RuleReading, wide: RuleReading, verbs: Verbs) -> bool:
    if not all(_same(narrow.entry, wide.entry, key) for key in UNKNOWN):
        return False
    if not all(_requires_as_much(narrow.entry, wide.entry, key) for key in CONDITIONS):
        return False
    if wide.windows and not (narrow.windows and _windows(narrow.windows, wide.windows)):
        return False
    if any(_flags_lack(narrow, wide, verbs[operation]) for operation in narrow.operations):
        return False
    if any(_name_lacks(narrow.entry, wide.entry, verbs[operation]) for operation in narrow.operations):
        return False
    return all(
        _parameter(verbs[operation], name, narrow, wide)
        for operation in narrow.operations
        for name in wide.constraints
        if name in verbs[operation].types
    )


def _flags_lack(narrow: RuleReading, wide: RuleReading, verb: Verb) -> bool:
    """Return true if `narrow` matches a request with a flag not named by `wide`, which allows."""
    lacking = verb.breakouts - named(wide.entry) if wide.entry.allowed else frozenset[str]()
    return bool(lacking & named(narrow.entry) if narrow.entry.allowed else lacking)


def _name_lacks(narrow: RuleEntry, wide: RuleEntry, verb: Verb) -> bool:
    """Return true if `narrow` matches a request on all things at once, and `wide`, which allows by names, does not."""
    if not (wide.allowed and needs_name(wide, verb)):
        return False
    constraint = (narrow.parameter_constraints or {}).get(verb.operation.all_without)
    if constraint is None or constraint.default is not None:
        return True
    return not (narrow.allowed or constraint.needs_value)


def _same(narrow: RuleEntry, wide: RuleEntry, key: str) -> bool:
    return canonical(getattr(narrow, key, None)) == canonical(getattr(wide, key, None))


def _requires_as_much(narrow: RuleEntry, wide: RuleEntry, key: str) -> bool:
    """Return whether the narrower rule requires everything the wider one requires under this key."""
    required, has = getattr(wide, key, None), getattr(narrow, key, None)
    if not required:
        return True
    if isinstance(required, dict):
        return isinstance(has, dict) and {canonical(pair) for pair in required.items()} <= {
            canonical(pair) for pair in has.items()
        }
    if isinstance(required, list):
        return isinstance(has, list) and {canonical(each) for each in present(required)} <= {
            canonical(each) for each in has
        }
    return canonical(has) == canonical(required)


def canonical(value: Any) -> bytes:
    """Return a comparable form of a value, in which true is not 1."""
    return json.encode(value, order="sorted")


def _windows(narrow: Iterable[Window], wide: Iterable[Window]) -> bool:
    return all(any(_within(one, other) for other in wide) for one in narrow)


def _within(narrow: Window, wide: Window) -> bool:
    if wide.days == _WHOLE_WEEK and wide.first is None and wide.last is None and wide.end - wide.start in (0, DAY):
        return True
    if narrow.zone.key != wide.zone.key or not narrow.days <= wide.days:
        return False
    if wide.first is not None and (narrow.first is None or narrow.first < wide.first):
        return False
    if wide.last is not None and (narrow.last is None or narrow.last > wide.last):
        return False
    return narrow.start >= wide.start and _end(narrow) <= _end(wide)


def _end(window: Window) -> int:
    """Return the end of the window, in seconds after the midnight at which its day begins."""
    return window.end if window.end > window.start else window.end + DAY


def _parameter(verb: Verb, name: str, narrow: RuleReading, wide: RuleReading) -> bool:
    one, other = narrow.constraints.get(name) or Constraint(), wide.constraints[name]
    known = domain(verb, name)
    deny = not wide.entry.allowed, not narrow.entry.allowed
    if not _missing(known, one, other) or not _left_out(known, one, other, deny=deny[0]):
        return False
    few = accepted(verb, name, one, deny=deny[1])
    if few is not None:
        return all(takes(other, value, deny=deny[0]) is True for value in few)
    return (
        _type(known, one, other)
        and _limits(known, one, other)
        and other.allowed_values is None
        and _denied(verb, name, one, other, deny=deny[1])
        and _pattern(known, one, other, deny=deny)
        and _items(one, other)
        and _required_items(one, other)
        and (other.allowlist_source, other.max_age) in ((None, other.max_age), (one.allowlist_source, one.max_age))
    )


def _missing(known: Domain, one: Constraint, other: Constraint) -> bool:
    """Return whether a request without a value is fine: the wider rule may not require one where the narrower does
    not.
    """
    if not other.needs_value or one.needs_value:
        return True
    return not known.nullable and (not known.may_be_missing or other.default is not None)


def _left_out(known: Domain, one: Constraint, other: Constraint, *, deny: bool) -> bool:
    """Return whether a left-out parameter is fine: both judge the same value, or the wider rule permits the one it
    judges.
    """
    if not known.optional or canonical(one.default) == canonical(other.default):
        return True
    value = known.default if other.default is None else other.default
    return not other.needs_value if value is None else takes(other, value, deny=deny) is True


def _type(known: Domain, one: Constraint, other: Constraint) -> bool:
    if other.type is None or one.type == other.type:
        return True
    taken = {"int", "float"} if other.type == "float" else {other.type}
    return known.types <= taken or one.type in taken


def _limits(known: Domain, one: Constraint, other: Constraint) -> bool:
    types = known.types if one.type is None else known.types & {one.type} or known.types
    if (other.min, other.max) != (None, None):
        least, most = bounds(known, one)
        if not types <= NUMBERS:
            return False
        if (other.min is not None and least < other.min) or (other.max is not None and most > other.max):
            return False
    if (other.min_length, other.max_length) != (None, None):
        shortest, longest = lengths(known, one)
        if not types <= SIZED:
            return False
        if other.min_length is not None and shortest < other.min_length:
            return False
        if other.max_length is not None and longest > other.max_length:
            return False
    return True


def _denied(verb: Verb, name: str, one: Constraint, other: Constraint, *, deny: bool) -> bool:
    """Return whether the narrower rule excludes everything the wider one excludes by `denied_values`."""
    if other.denied_values is None:
        return True
    return domain(verb, name).types <= SCALARS and all(
        verb.refuses(name, value) is not None or takes(one, value, deny=deny) is False
        for value in present(other.denied_values)
    )


def _items(one: Constraint, other: Constraint) -> bool:
    """Return whether each item that the narrower rule permits is one that the wider one permits."""
    if other.allowed_items is None:
        return True
    wide, narrow = ({canonical(whole(value)) for value in present(each.allowed_items)} for each in (other, one))
    return one.allowed_items is not None and narrow <= wide


def _required_items(one: Constraint, other: Constraint) -> bool:
    """Return whether the narrower rule demands each item that the wider one demands."""
    if other.required_items is None:
        return True
    wide, narrow = ({canonical(whole(value)) for value in present(each.required_items)} for each in (other, one))
    return one.required_items is not None and narrow >= wide


def _pattern(known: Domain, one: Constraint, other: Constraint, *, deny: tuple[bool, bool]) -> bool:
    """Return whether the patterns agree: the same text. A deny rule's pattern also covers newlines, so it follows from
    an allow rule's and not the other way round.
    """
    if other.pattern is None:
        return True
    return one.pattern == other.pattern and known.types <= {"string"} and (deny[0] or not deny[1])
