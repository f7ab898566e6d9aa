"""Convert policies of the older format (`rules:` with `target_pattern` and `allowed_operations`) to this one.

The result never allows more: a rule with a part that cannot be expressed is left out, with a note. Keys with other
names in older files (`min_value`) are renamed, also in a file that has `policies:` already.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct, field

from writ_contracts.operations import Catalogue
from writ_rules.engine.policy_file.format import Constraint, RuleEntry

NOUNS = ("container", "stack", "service", "file", "network", "package", "backup", "snapshot")
OF_CAPABILITY = {"system": "service"}
OTHER_VERBS = {
    "pull_stack": "stack_update",
    "test_connectivity": "network_test",
    "scan_ports": "network_scan",
    "service_update": "package_update",
}
RENAMED = {
    "min_value": "min",
    "max_value": "max",
    "target_patterns": "targets",
    "max_concurrent_operations": "max_concurrent",
}
PARAMETERS = {"path": "file_path"}
DROPPED = {"validation_type", "operation_tier", "dry_run_supported", "required_capabilities", "target_pattern"}
"""Keys that this format does not need: the catalogue has the grammar and the risk of each operation, the inventory the
permissions of an agent.
"""
HANDLED = {"name", "allowed_operations", "parameter_constraints"}
ELSEWHERE = {
    "default_validation_mode": "set SYSTEMMANAGER_POLICY_MODE (strict or permissive) in its place",
    "targets": "targets are in the inventory: add them with `writ target add`",
    "maintenance_windows": "write `maintenance_windows` of this format, and `maintenance_windows_only` in the rules",
    "lockout_periods": "write a deny rule with `time_restrictions`",
}
DENYING = {"allowed", "action", "effect", "denied_operations"}


class ConvertedPolicy(Struct, frozen=True):
    """A policy in this format, and notes on the parts of the old file that could not be expressed."""

    policies: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def converted(data: Any, catalogue: Catalogue, name: str) -> ConvertedPolicy:
    """Return the policy of an older file; `name` is its own if it has none. Raises ValueError for other files."""
    if not isinstance(data, dict) or not ("rules" in data or isinstance(data.get("policies"), dict)):
        raise ValueError("is no policy of an older format: it has neither 'rules' nor 'policies'")
    notes: list[str] = []
    if "policies" in data:
        return ConvertedPolicy({"policies": _renamed(data["policies"])}, notes)
    made = [_rule(entry, catalogue, notes) for entry in data["rules"] or () if isinstance(entry, dict)]
    policy: dict[str, Any] = {"version": "v2", "name": str(data.get("name") or name), "deny_by_default": True}
    policy |= {"enable_dry_run": data["enable_dry_run"]} if isinstance(data.get("enable_dry_run"), bool) else {}
    policy["global_policies"] = [rule for rule in made if rule is not None]
    rest = [key for key, value in data.items() if value and key not in {"rules", "name", "enable_dry_run"}]
    notes += [f"'{key}' is left out" + (f": {ELSEWHERE[key]}" if key in ELSEWHERE else "") for key in rest]
    return ConvertedPolicy({"policies": policy}, notes)


def _renamed(value: Any) -> Any:
    """Return the value with older names of keys replaced by those of this format."""
    if isinstance(value, dict):
        return {RENAMED.get(key, key): _renamed(item) for key, item in value.items()}
    return [_renamed(item) for item in value] if isinstance(value, list) else value


def _rule(entry: Mapping[str, Any], catalogue: Catalogue, notes: list[str]) -> dict[str, Any] | None:
    """Return the rule, which allows. Raises ValueError for one that may deny: without it more would be allowed."""
    name = str(entry.get("name") or "unnamed")
    if DENYING & set(entry):
        raise ValueError(f"rule '{name}' may deny ({', '.join(sorted(DENYING & set(entry)))}): write it by hand")
    globs = _targets(str(entry.get("target_pattern") or ".*"))
    operations = _operations(name, entry, catalogue, notes)
    constraints, lost = _constraints(entry.get("parameter_constraints") or {}, operations, catalogue)
    own = {RENAMED.get(key, key): value for key, value in entry.items() if key not in {*DROPPED, *HANDLED}}
    lost += [f"'{key}'" for key in own if key not in RuleEntry.__struct_fields__]
    lost += [f"target_pattern '{entry.get('target_pattern')}'"] if globs is None else []
    if lost or not operations:
        why = (
            f"{', '.join(lost)} cannot be expressed" if lost else "it allows nothing, and what no rule allows is denied"
        )
        notes.append(f"rule '{name}' is left out: {why}")
        return None
    rule = {"name": name, "operations": operations, "allowed": True, "targets": globs, **own}
    return {key: value for key, value in {**rule, "parameter_constraints": constraints}.items() if _counts(value)}


def _counts(value: Any) -> bool:
    return value is not None and value not in ({}, [])


def _targets(pattern: str) -> list[str] | None:
    """Return globs for a regular expression of target ids; none for all, None where globs can't say it."""
    alternatives = pattern.removeprefix("^").removesuffix("$").split("|")
    if ".*" in alternatives:
        return []
    globs = [each.replace(".*", "*").replace("\\-", "-") for each in alternatives]
    return globs if all(re.fullmatch(r"[A-Za-z0-9_*-]+", each) for each in globs) else None


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


def _constraints(
    parameters: Mapping[str, Any], operations: Iterable[str], catalogue: Catalogue
) -> tuple[dict[str, Any], list[str]]:
    """Return the constraints on parameters that the operations have, and the parts that cannot be expressed."""
    known = {name for one in operations for name in catalogue[one].parameters.__struct_fields__}
    constraints: dict[str, Any] = {}
    lost: list[str] = []
    for name, constraint in parameters.items():
        here = PARAMETERS.get(name, name) if name not in known else name
        if here not in known:
            continue  # no request has this parameter
        keys = {key: value for key, value in _renamed(constraint or {}).items() if key not in DROPPED}
        lost += [f"'{key}' of {name}" for key in keys if key not in Constraint.__struct_fields__]
        constraints[here] = keys
    return constraints, lost
