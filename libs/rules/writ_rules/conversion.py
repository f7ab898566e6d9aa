"""Convert policies of the older format (`rules:` with `target_pattern` and `allowed_operations`) to this one.

The result never allows more: an allow with a part that cannot be expressed is left out, with a note, and a deny of this
kind is an error. A file that has `policies:` already keeps its form: keys with older names (`min_value`) are renamed,
and `target_patterns`, which are regular expressions, become globs.

The older format matches the beginning of a value with a regular expression, this one the whole. For an allow that is
less; a deny is widened. What Python's expressions match and RE2's do not, or the other way round, is
`older_patterns`'. Files of the older format number days from 0 = Monday or from 1 = Monday: a rule with such days
cannot be expressed.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct, field

from writ_contracts.operations import Catalogue
from writ_rules.engine.policy_file.format import Constraint, RuleEntry
from writ_rules.older_patterns import taken_over

NOUNS = ("container", "stack", "service", "file", "network", "package", "backup", "snapshot")
OF_CAPABILITY = {"system": "service"}
OTHER_VERBS = {
    "pull_stack": "stack_update",
    "test_connectivity": "network_test",
    "scan_ports": "network_scan",
    "service_update": "package_update",
}
RENAMED = {"max_concurrent_operations": "max_concurrent"}
RENAMED_LIMITS = {"min_value": "min", "max_value": "max"}
HARMLESS = {"type", "description", "default"}
"""Keys of a constraint that leave no value of the parameter out; the catalogue's types are as strict."""
PARAMETERS = {"path": "file_path"}
DROPPED = {"validation_type", "operation_tier", "dry_run_supported", "required_capabilities", "target_pattern"}
"""Keys that this format does not need: the catalogue has the grammar and the risk of each operation, the inventory the
permissions of an agent.
"""
HANDLED = {"name", "allowed_operations", "parameter_constraints", "targets", "target_patterns"}
ELSEWHERE = {
    "default_validation_mode": "set SYSTEMMANAGER_POLICY_MODE (strict or permissive) in its place",
    "targets": "targets are in the inventory: add them with `writ target add`",
}
RESTRICTING = {
    "maintenance_windows": "write `maintenance_windows` of this format, and `maintenance_windows_only` in the rules",
    "lockout_periods": "write a deny rule with `time_restrictions`",
}
DENYING = {"allowed", "action", "effect", "denied_operations"}
NUMBERED = "days by number (0 or 1 may be Monday; mon to sun can be)"
_target = re.compile(r"\^?((?:[A-Za-z0-9_-]|\\-|\.\*)*)(\$?)").fullmatch
"""One alternative of a regular expression that a glob can say: literals and `.*`, with its anchors."""
LEFT_OUT = object()
"""In place of a rule that cannot be expressed."""


class ConvertedPolicy(Struct, frozen=True):
    """A policy in this format, and notes on the parts of the old file that could not be expressed."""

    policies: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def converted(data: Any, catalogue: Catalogue, name: str) -> ConvertedPolicy:
    """Return the policy of an older file; `name` is its own if it has none. Raises ValueError for other files."""
    if not isinstance(data, dict) or not ("rules" in data or isinstance(data.get("policies"), dict)):
        raise ValueError("is no policy of an older format: it has neither 'rules' nor 'policies'")
    notes: list[str] = []
    if restricting := sorted(key for key in {*RESTRICTING, *DENYING} if data.get(key)):
        why = RESTRICTING.get(restricting[0], "write it by hand")
        raise ValueError(f"without '{restricting[0]}' more would be allowed: take it out of the file, and {why}")
    if "policies" in data:
        if data.get("rules") or not isinstance(data["policies"], dict):
            raise ValueError("has 'rules' beside 'policies': convert one of them at a time")
        notes += [f"'{key}' is left out" for key, value in data.items() if value and key != "policies"]
        return ConvertedPolicy({"policies": _policy(data["policies"], notes)}, notes)
    rules = data["rules"] or []
    if not isinstance(rules, list) or not all(isinstance(entry, dict) for entry in rules):
        raise ValueError("'rules' is no list of mappings: an entry that is left out may deny")
    made = [_rule(entry, catalogue, notes) for entry in rules]
    policy: dict[str, Any] = {"version": "v2", "name": str(data.get("name") or name), "deny_by_default": True}
    policy |= {"enable_dry_run": data["enable_dry_run"]} if isinstance(data.get("enable_dry_run"), bool) else {}
    policy["global_policies"] = [rule for rule in made if rule is not None]
    rest = [key for key, value in data.items() if value and key not in {"rules", "name", "enable_dry_run"}]
    notes += [f"'{key}' is left out" + (f": {ELSEWHERE[key]}" if key in ELSEWHERE else "") for key in rest]
    return ConvertedPolicy({"policies": policy}, notes)


def _policy(policy: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Return a policy with this format's names of keys. Raises ValueError for a deny that cannot be expressed."""
    if _numbers_days(policy.get("maintenance_windows")):
        raise ValueError(f"'maintenance_windows' have {NUMBERED}")
    result = dict(policy)
    for section in ("global_policies", "emergency_policies"):
        if isinstance(policy.get(section), list):
            result[section] = _renamed_rules(policy[section], notes)
    if isinstance(roles := policy.get("role_policies"), dict):
        result["role_policies"] = {
            role: _renamed_rules(rules, notes) if isinstance(rules, list) else rules for role, rules in roles.items()
        }
    return result


def _renamed_rules(rules: Iterable[Any], notes: list[str]) -> list[Any]:
    every = (_renamed_rule(entry, notes) if isinstance(entry, dict) else entry for entry in rules)
    return [rule for rule in every if rule is not LEFT_OUT]


def _renamed_rule(entry: Mapping[str, Any], notes: list[str]) -> Any:
    """Return the rule with this format's names, `LEFT_OUT` for an allow that cannot be expressed."""
    name, deny = str(entry.get("name") or "unnamed"), entry.get("allowed") is not True
    rule: dict[str, Any] = {}
    lost = [*_twice(entry), *([NUMBERED] if _numbers_days(entry.get("time_restrictions")) else [])]
    for key, value in entry.items():
        if value is None and key in {"targets", "target_patterns", *RENAMED, *RENAMED.values()}:
            continue
        if key == "target_patterns":
            globs = None if entry.get("targets") is not None else _every_glob(value, deny=deny)
            lost += [f"'target_patterns' {value}"] if globs is None else []
            rule |= {"targets": globs} if globs or (not deny and value == []) else {}
        elif key == "parameter_constraints" and isinstance(value, dict):
            rule[key] = {each: _limits(constraint, deny=deny) for each, constraint in value.items()}
            lost += [
                _lost(each, value[each], deny=deny) for each, made in rule[key].items() if made is None and value[each]
            ]
        else:
            rule[RENAMED.get(key, key)] = value
    if lost and deny:
        raise ValueError(f"rule '{name}' denies, and a part cannot be expressed: {', '.join(lost)}")
    if lost:
        notes.append(f"rule '{name}' is left out: {', '.join(lost)} cannot be expressed")
    return LEFT_OUT if lost else rule


def _twice(entry: Mapping[str, Any]) -> list[str]:
    """Return the limits that an entry has under both names."""
    return [f"'{old}' beside '{new}'" for old, new in RENAMED.items() if old in entry and entry.get(new) is not None]


def _limits(constraint: Any, *, deny: bool) -> Any:
    """Return a constraint with this format's names; None where a limit has two names, or RE2 may read its
    pattern otherwise.
    """
    if not isinstance(constraint, dict):
        return constraint
    made = {RENAMED_LIMITS.get(key, key): value for key, value in constraint.items()}
    unlike = False
    if isinstance(text := made.get("pattern"), str):
        made["pattern"] = taken_over(text, deny=deny)
        unlike = made["pattern"] is None
    return None if unlike or len(made) != len(constraint) else made


def _lost(name: str, constraint: Mapping[str, Any], *, deny: bool) -> str:
    """Return the part for which `_limits` has nothing."""
    text = constraint.get("pattern")
    unlike = isinstance(text, str) and taken_over(text, deny=deny) is None
    return f"pattern '{text}' of '{name}'" if unlike else f"limits of '{name}'"


def _numbers_days(value: Any) -> bool:
    """Return whether some windows have days by number, unless they are all seven."""
    if isinstance(value, list):
        return any(_numbers_days(each) for each in value)
    if not isinstance(value, dict):
        return False
    days = value.get("days_of_week")
    numbers = {day for day in days if isinstance(day, int)} if isinstance(days, list) else set[int]()
    return (bool(numbers) and not numbers >= set(range(7))) or any(_numbers_days(each) for each in value.values())


def _rule(entry: Mapping[str, Any], catalogue: Catalogue, notes: list[str]) -> dict[str, Any] | None:
    """Return the rule, which allows. Raises ValueError for one that may deny: without it more would be allowed."""
    name = str(entry.get("name") or "unnamed")
    if DENYING & set(entry):
        raise ValueError(f"rule '{name}' may deny ({', '.join(sorted(DENYING & set(entry)))}): write it by hand")
    named = [key for key in ("target_pattern", "target_patterns", "targets") if entry.get(key) is not None]
    globs = _every_glob(entry[named[0]], deny=False) if named else []
    constraints, lost = _constraints(entry.get("parameter_constraints") or {})
    operations = _limited(name, _operations(name, entry, catalogue, notes), constraints, catalogue, notes)
    lost += _twice(entry)
    given = {key: value for key, value in entry.items() if key not in {*DROPPED, *HANDLED} and value is not None}
    own = {RENAMED.get(key, key): value for key, value in given.items()}
    lost += [f"'{key}'" for key in own if key not in RuleEntry.__struct_fields__]
    lost += [f"{named[0]} '{entry[named[0]]}'"] if globs is None or (named and entry[named[0]] == []) else []
    lost += [f"'{key}' beside {named[0]}" for key in named[1:]]
    lost += [NUMBERED] if _numbers_days(entry.get("time_restrictions")) else []
    if lost or not operations:
        why = (
            f"{', '.join(lost)} cannot be expressed" if lost else "it allows nothing, and what no rule allows is denied"
        )
        notes.append(f"rule '{name}' is left out: {why}")
        return None
    rule = {"name": name, "operations": operations, "allowed": True, "targets": globs or None, **own}
    rule["parameter_constraints"] = _here(constraints, operations, catalogue) or None
    return {key: value for key, value in rule.items() if value is not None}


def _every_glob(patterns: Any, *, deny: bool) -> list[str] | None:
    """Return globs for regular expressions of target ids; none for all ids, None where globs can't say it."""
    globs: list[str] = []
    for pattern in patterns if isinstance(patterns, list) else [patterns]:
        if not isinstance(pattern, str):
            return None
        for alternative in pattern.split("|"):
            read = _target(alternative)
            if read is None or not (read[1] or deny):
                return None
            text = read[1].replace("\\-", "-").replace(".*", "*")
            globs.append(text if read[2] or not deny or text.endswith("*") else f"{text}*")
    return [] if "*" in globs else globs


def _operations(name: str, entry: Mapping[str, Any], catalogue: Catalogue, notes: list[str]) -> list[str]:
    names: dict[str, None] = {}
    nouns = _nouns(entry)
    for word in entry.get("allowed_operations") or ():
        known = [one for one in _spelled(str(word), nouns) if one in catalogue and not catalogue[one].control]
        if known:
            names[known[0]] = None
        else:
            notes.append(f"rule '{name}': there is no operation for '{word}'; it is left out")
    return list(names)


def _nouns(entry: Mapping[str, Any]) -> list[str]:
    """Return the kinds of things that a rule is about, by the names of its parameters and capabilities."""
    named = [str(each).partition("_name")[0] for each in entry.get("parameter_constraints") or ()]
    able = [str(each).partition(":")[0] for each in entry.get("required_capabilities") or ()]
    return [noun for each in (*named, *able) if (noun := OF_CAPABILITY.get(each, each)) in NOUNS]


def _spelled(word: str, nouns: Iterable[str]) -> list[str]:
    """Return the names that an operation may have in this format: `restart_container` is `container_restart`."""
    verb, _, noun = word.partition("_")
    every = [word, f"{noun}_{verb}", *(f"{each}_{word}" for each in nouns)]
    return [*every, *(OTHER_VERBS[each] for each in every if each in OTHER_VERBS)]


def _constraints(parameters: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the constraints with this format's keys, and the parts that cannot be expressed."""
    if not isinstance(parameters, dict) or not all(isinstance(each or {}, dict) for each in parameters.values()):
        return {}, ["'parameter_constraints'"]
    constraints: dict[str, Any] = {}
    lost: list[str] = []
    for name, constraint in parameters.items():
        made = _limits({key: value for key, value in (constraint or {}).items() if key not in DROPPED}, deny=False)
        lost += [_lost(name, constraint, deny=False)] if made is None else []
        constraints[name] = made or {}
        lost += [f"'{name}' beside '{PARAMETERS[name]}'"] if PARAMETERS.get(name) in parameters else []
        lost += [f"'{key}' of {name}" for key in constraints[name] if key not in Constraint.__struct_fields__]
    return constraints, lost


def _limited(
    rule: str, operations: Iterable[str], constraints: Mapping[str, Any], catalogue: Catalogue, notes: list[str]
) -> list[str]:
    """Return the operations that have each parameter with a limit; without the limit more would be allowed."""
    kept = []
    for operation in operations:
        here = [parameter for parameter, limits in constraints.items() if _restricts(limits)]
        missing = [parameter for parameter in here if _parameter(parameter, operation, catalogue) is None]
        if missing:
            without = f"it has no parameter '{missing[0]}', which the rule limits"
            notes.append(f"rule '{rule}': {operation} is left out: {without}")
        else:
            kept.append(operation)
    return kept


def _restricts(limits: Mapping[str, Any]) -> bool:
    return any(key not in HARMLESS and value is not None and value is not False for key, value in limits.items())


def _parameter(name: str, operation: str, catalogue: Catalogue) -> str | None:
    """Return the name that this operation has for a parameter of an older file."""
    known = catalogue[operation].parameters.__struct_fields__
    return next((each for each in (name, PARAMETERS.get(name, name)) if each in known), None)


def _here(constraints: Mapping[str, Any], operations: Iterable[str], catalogue: Catalogue) -> dict[str, Any]:
    """Return the constraints by the names that the operations have for the parameters."""
    return {
        here: limits
        for operation in operations
        for name, limits in constraints.items()
        if (here := _parameter(name, operation, catalogue)) is not None
    }
