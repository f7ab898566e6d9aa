"""What a policy says that cannot be meant: rules that can't do what they say, and those that do less.

Each check is a generator over one rule, so that all findings of a file come at once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from writ_policy.engine.checks import Check, Unanswerable, checks
from writ_policy.engine.findings import Finding, Keys, Severity
from writ_policy.engine.format import Constraint, Placed, PolicyFile, present
from writ_policy.engine.verbs import ANY, Verb

Verbs = Mapping[str, Verb]
LISTS = ("target_roles", "targets", "target_tags", "users", "user_roles", "principal_kinds")
FITS = {
    "min": {"int", "float"},
    "max": {"int", "float"},
    "min_length": {"string", "list", "dict"},
    "max_length": {"string", "list", "dict"},
    "pattern": {"string"},
    "allowed_values": ANY - {"list", "dict"},
    "denied_values": ANY - {"list", "dict"},
}


def lint(file: PolicyFile, every: Iterable[Placed], verbs: Verbs) -> list[Finding]:
    """All of it."""
    found = list(_policy(file))
    rule_checks: tuple[Callable[[Placed, Verbs], Iterator[Finding]], ...]
    rule_checks = (_operations, _lists, _own_role, _approval, _parameters, _not_yet)
    for placed in every:
        for check in rule_checks:
            found += check(placed, verbs)
    return found


def _policy(file: PolicyFile) -> Iterator[Finding]:
    if not file.policies.deny_by_default:
        keys = ("policies", "deny_by_default")
        yield Finding(Severity.WARNING, keys, "whatever no rule covers is allowed: every such decision says so")


def _operations(placed: Placed, verbs: Verbs) -> Iterator[Finding]:
    keys = (*placed.keys, "operations")
    if not present(placed.entry.operations):
        yield Finding(Severity.LINT, keys, "an empty list: the rule covers nothing")
    for at, name in enumerate(placed.entry.operations):
        if name is not None and name not in verbs:
            near = get_close_matches(name, verbs, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            yield Finding(Severity.LINT, (*keys, at), f"there is no operation '{name}'{hint}")


def _lists(placed: Placed, _: Verbs) -> Iterator[Finding]:
    for key in LISTS:
        if getattr(placed.entry, key) is not None and not present(getattr(placed.entry, key)):
            yield Finding(Severity.LINT, (*placed.keys, key), f"an empty list covers nobody: leave out '{key}' for all")
    for at, window in enumerate(placed.entry.time_restrictions or ()):
        if window is not None and window.days_of_week is not None and not present(window.days_of_week):
            keys = (*placed.keys, "time_restrictions", at, "days_of_week")
            yield Finding(Severity.LINT, keys, "a window without days never opens")


def _own_role(placed: Placed, _: Verbs) -> Iterator[Finding]:
    roles = placed.entry.target_roles
    if placed.role is not None and roles is not None and placed.role not in roles:
        keys = (*placed.keys, "target_roles")
        yield Finding(Severity.LINT, keys, f"leaves out '{placed.role}', under which the rule stands")


def _approval(placed: Placed, _: Verbs) -> Iterator[Finding]:
    entry = placed.entry
    if not entry.allowed and (entry.requires_approval or entry.approval is not None):
        yield Finding(Severity.WARNING, placed.keys, f"'{entry.name}' denies: nobody is asked for an approval")
    if entry.approval is not None and entry.requires_approval is False:
        yield Finding(Severity.LINT, placed.keys, f"'{entry.name}' names approvers and says that it needs none")
    if entry.emergency_overridable and entry.allowed:
        yield Finding(Severity.WARNING, placed.keys, "only a deny can be emergency_overridable")


def _not_yet(placed: Placed, _: Verbs) -> Iterator[Finding]:
    for key in ("maintenance_windows_only", "max_targets", "max_concurrent"):
        if getattr(placed.entry, key):
            text = f"'{key}' is not evaluated yet: until it is, the rule denies all that it covers"
            yield Finding(Severity.WARNING, (*placed.keys, key), text)


def _parameters(placed: Placed, verbs: Verbs) -> Iterator[Finding]:
    having = [verbs[name] for name in present(placed.entry.operations) if name in verbs]
    known = sorted({parameter for verb in having for parameter in verb.types})
    for name, constraint in (placed.entry.parameter_constraints or {}).items():
        keys = (*placed.keys, "parameter_constraints", name)
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            text = f"no operation of the rule has the parameter '{name}'{hint}"
            yield Finding(Severity.WARNING, keys, text, at_key=True)
        elif constraint is not None:
            yield from _contradictions(keys, constraint)
            for verb in having:
                if name in verb.types:
                    yield from _constraint(keys, name, constraint, verb)


def _contradictions(keys: Keys, constraint: Constraint) -> Iterator[Finding]:
    for low, high in (("min", "max"), ("min_length", "max_length")):
        least, most = getattr(constraint, low), getattr(constraint, high)
        if least is not None and most is not None and least > most:
            yield Finding(Severity.LINT, keys, f"{low} {least} is above {high} {most}: the rule never matches")
    if constraint.allowlist_source is not None:
        text = "lists of the target are not asked for yet: until they are, the rule denies all that it covers"
        yield Finding(Severity.WARNING, (*keys, "allowlist_source"), text)
    elif constraint.max_age is not None:
        yield Finding(Severity.WARNING, (*keys, "max_age"), "the age of a list, without an allowlist_source")


def _constraint(keys: Keys, name: str, constraint: Constraint, verb: Verb) -> Iterator[Finding]:
    types, what = verb.types[name], f"{verb.operation.name}.{name}"
    for key, fits in FITS.items():
        if getattr(constraint, key) is not None and not types & fits:
            yield Finding(Severity.LINT, (*keys, key), f"{what} is of type {_said(types)}, which '{key}' can't judge")
    wanted = {"int", "float"} if constraint.type == "float" else {constraint.type}
    if constraint.type is not None and not types & wanted:
        yield Finding(Severity.LINT, (*keys, "type"), f"{what} is of type {_said(types)}: the rule never matches")
    if constraint.default is not None:
        yield from _default((*keys, "default"), name, constraint, verb)


def _default(keys: Keys, name: str, constraint: Constraint, verb: Verb) -> Iterator[Finding]:
    refusal = verb.refuses(name, constraint.default)
    if refusal is not None:
        yield Finding(Severity.LINT, keys, f"{verb.operation.name}.{name} can't be this: {refusal}")
        return
    try:
        broken = [check for check in checks(constraint, deny=False) if _breaks(check, constraint.default)]
    except ValueError:
        return  # the pattern is no pattern, which is an error of its own
    for check in broken:
        yield Finding(Severity.LINT, keys, f"the default itself breaks {check.clause} ({check.wanted})")


def _breaks(check: Check, default: Any) -> bool:
    """Certainly, that is; a check that can't judge the type of the parameter is found elsewhere."""
    try:
        return not check.holds(default)
    except Unanswerable:
        return False


def _said(types: Iterable[str]) -> str:
    return " or ".join(sorted(types))
