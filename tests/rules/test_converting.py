"""Conversion of a policy in the older format allows no more than before."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rules.asking import CATALOGUE, World, loaded

from writ_documents import yaml_file
from writ_rules.conversion import converted

OLD: dict[str, Any] = {
    "default_validation_mode": "strict",
    "enable_dry_run": False,
    "lockout_periods": [],
    "rules": [
        {"name": "none", "target_pattern": ".*", "allowed_operations": [], "operation_tier": "observe"},
        {
            "name": "containers",
            "description": "of the web servers",
            "target_pattern": "web-.*",
            "allowed_operations": ["start", "stop_container", "container_restart", "explode"],
            "required_capabilities": ["container:write"],
            "parameter_constraints": {
                "container_name": {"type": "string", "validation_type": "container_name", "pattern": "^[a-z]+$"},
                "timeout": {"type": "int", "min_value": 1, "max_value": 300},
                "reason": {"type": "string"},
            },
            "requires_approval": True,
            "dry_run_supported": True,
        },
        {
            "name": "files",
            "target_pattern": "(a|b)x",
            "allowed_operations": ["read"],
            "parameter_constraints": {"path": {"pattern": "/srv/.*"}},
        },
        {
            "name": "logs",
            "target_pattern": "log-1",
            "allowed_operations": ["read"],
            "required_capabilities": ["file:read"],
            "parameter_constraints": {"path": {"pattern": "/srv/.*"}},
        },
        {"name": "odd", "allowed_operations": ["network_status"], "conditions": ["weekend"]},
    ],
}


def test_an_older_policy_is_converted_with_a_note_for_each_part_left_out() -> None:
    found = converted(OLD, CATALOGUE, "older")
    assert found.notes == [
        "rule 'none' is left out: it allows nothing, and what no rule allows is denied",
        "rule 'containers': there is no operation for 'explode'; it is left out",
        "rule 'files': there is no operation for 'read'; it is left out",
        "rule 'files' is left out: target_pattern '(a|b)x' cannot be expressed",
        "rule 'odd' is left out: 'conditions' cannot be expressed",
        "'default_validation_mode' is left out: set SYSTEMMANAGER_POLICY_MODE (strict or permissive) in its place",
    ]
    containers, logs = found.policies["policies"]["global_policies"]
    assert containers == {
        "name": "containers",
        "operations": ["container_start", "container_stop", "container_restart"],
        "allowed": True,
        "targets": ["web-*"],
        "description": "of the web servers",
        "requires_approval": True,
        "parameter_constraints": {
            "container_name": {"type": "string", "pattern": "^[a-z]+$"},
            "timeout": {"type": "int", "min": 1, "max": 300},
        },
    }
    assert (logs["operations"], logs["parameter_constraints"]) == (["file_read"], {"file_path": {"pattern": "/srv/.*"}})
    assert loaded(yaml_file.dump(found.policies)).enable_dry_run is False


def test_older_names_of_keys_are_renamed_below_policies() -> None:
    data = {"policies": {"global_policies": [{"name": "a", "parameter_constraints": {"timeout": {"max_value": 3}}}]}}
    found = converted(data, CATALOGUE, "x").policies
    assert found["policies"]["global_policies"][0]["parameter_constraints"] == {"timeout": {"max": 3}}


@pytest.mark.parametrize("data", [[], {"policy": {}}, {"rules": [{"name": "d", "action": "deny"}]}])
def test_older_policy_that_may_deny_or_is_malformed_is_refused(data: Any) -> None:
    with pytest.raises(ValueError, match=r"may deny|is no policy of an older format"):
        converted(data, CATALOGUE, "x")


def test_an_older_deny_that_cannot_be_expressed_is_refused() -> None:
    deny = {"name": "d", "operations": ["service_stop"], "allowed": False}
    for part in (
        {"target_patterns": ["web-[0-9]+"]},
        {"target_patterns": ["web-.*"], "targets": ["web-1"]},
        {"time_restrictions": [{"days_of_week": [5, 6]}]},
    ):
        with pytest.raises(ValueError, match="'d' denies, and a part cannot be expressed"):
            converted({"policies": {"role_policies": {"production": [{**deny, **part}]}}}, CATALOGUE, "x")
    for key in ("lockout_periods", "maintenance_windows", "denied_operations"):
        with pytest.raises(ValueError, match=f"without '{key}' more would be allowed"):
            converted({"rules": [], key: [{"name": "night"}]}, CATALOGUE, "x")


def test_a_rule_keeps_only_operations_with_each_parameter_that_it_limits() -> None:
    rule: dict[str, Any] = {"name": "net", "allowed_operations": ["network_test", "network_scan"]}
    rule["parameter_constraints"] = {"host": {"pattern": "10.*"}, "note": {"type": "string"}}
    found = converted({"rules": [rule]}, CATALOGUE, "x")
    assert found.policies["policies"]["global_policies"][0]["operations"] == ["network_test"]
    assert found.notes == ["rule 'net': network_scan is left out: it has no parameter 'host', which the rule limits"]


@pytest.mark.parametrize(
    ("part", "note"),
    [
        ({"target_pattern": "db-*"}, "target_pattern 'db-*' cannot"),
        ({"targets": ["web-[12]"]}, "targets '['web-[12]']' cannot"),
        ({"targets": ["a"], "target_pattern": "b"}, "'targets' beside target_pattern cannot"),
        ({"time_restrictions": [{"days_of_week": [5, 6]}]}, "days by number (0 or 1 may be Monday; mon to sun can"),
        ({"parameter_constraints": {"timeout": {"max": 9, "max_value": 3}}}, "limits of 'timeout' cannot"),
    ],
)
def test_an_older_rule_with_a_part_of_unsure_meaning_is_left_out(part: dict[str, Any], note: str) -> None:
    rule = {"name": "r", "allowed_operations": ["service_stop"], **part}
    found = converted({"rules": [rule]}, CATALOGUE, "x")
    assert found.policies["policies"]["global_policies"] == []
    assert note in found.notes[0]


def test_regular_expressions_of_targets_become_globs_below_policies() -> None:
    allow = {"name": "a", "operations": ["service_stop"], "allowed": True, "target_patterns": ["^web-.*$", "db1"]}
    deny = {"name": "d", "operations": ["service_stop"], "allowed": False, "target_patterns": ["prod", "^x$"]}
    found = converted({"policies": {"global_policies": [allow, deny]}}, CATALOGUE, "x")
    assert [rule["targets"] for rule in found.policies["policies"]["global_policies"]] == [
        ["web-*", "db1"],
        ["prod*", "x"],
    ]


TARGETS = ("a", "ab", "a-b", "web-1", "web-.x", "x")
VALUES = ("aa", "ab", "nginx")
PATTERNS = st.sampled_from(
    ["a", "^a$", "a.*", "a*", "web-.*", "web-*", "a|x", "^a|b$", "", ".*", "[a-z]+", "a\\-b", ".b"]
)
PARAMETERS = {"service_stop": "service_name", "container_stop": "container_name", "network_test": "host"}
CONSTRAINT = st.fixed_dictionaries(
    {},
    optional={
        "type": st.just("string"),
        "pattern": st.sampled_from(["a", "^a$", "a.*", "nginx|b", "^ng"]),
        "allowed_values": st.lists(st.sampled_from(VALUES), min_size=1, max_size=2),
        "required": st.booleans(),
        "max_length": st.integers(0, 3),
    },
)
NAMED = ("service_name", "container_name", "service", "host", "name")
CONDITIONS = {
    "parameter_constraints": st.dictionaries(st.sampled_from(NAMED), CONSTRAINT, max_size=2),
    "time_restrictions": st.lists(
        st.fixed_dictionaries({"days_of_week": st.lists(st.integers(0, 6), min_size=1, unique=True)}), max_size=1
    ),
}
OPERATIONS = st.lists(st.sampled_from([*PARAMETERS]), min_size=1, unique=True)
OLDER = st.fixed_dictionaries(
    {"allowed_operations": OPERATIONS},
    optional={**CONDITIONS, "target_pattern": PATTERNS, "targets": st.lists(PATTERNS)},
)
OLDER_NAMES = st.fixed_dictionaries(
    {"operations": OPERATIONS, "allowed": st.booleans()},
    optional={**CONDITIONS, "target_patterns": st.lists(PATTERNS, min_size=1, max_size=2)},
)
REQUEST = st.tuples(
    st.sampled_from([*PARAMETERS]), st.sampled_from(TARGETS), st.sampled_from(VALUES), st.integers(23, 29)
)
Request = tuple[str, str, str, int]


def named(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": f"r{at}", **rule} for at, rule in enumerate(rules)]


def older_match(rule: dict[str, Any], request: Request, *, monday: int, absent: bool) -> bool:
    """Evaluate one rule as the older format has it; `absent`: whether a limit of a parameter that the request lacks
    holds.
    """
    operation, target, value, day = request
    if operation not in rule.get("allowed_operations", rule.get("operations", ())):
        return False
    for key in ("target_pattern", "targets", "target_patterns"):
        patterns = rule.get(key, [".*"])
        if not any(re.match(each, target) for each in ([patterns] if isinstance(patterns, str) else patterns)):
            return False
    windows = rule.get("time_restrictions", [])
    weekday = (day - 23) % 7 + monday  # 23 November 2026 is a Monday
    if windows and not any(weekday % 7 in {each % 7 for each in window["days_of_week"]} for window in windows):
        return False
    return all(
        older_value(limits, value) if name == PARAMETERS[operation] else absent or not {*limits} - {"type"}
        for name, limits in rule.get("parameter_constraints", {}).items()
    )


def older_value(limits: dict[str, Any], value: str) -> bool:
    return (
        (limits.get("pattern") is None or re.match(limits["pattern"], value) is not None)
        and value in limits.get("allowed_values", [value])
        and len(value) <= limits.get("max_length", len(value))
    )


def allows(policy: World, request: Request) -> bool:
    operation, target, value, day = request
    if not re.fullmatch("[a-z0-9-]+", target):
        return False
    asked: dict[str, Any] = {PARAMETERS[operation]: value}
    ruling = policy.ask(operation, target={"id": target}, now=f"2026-11-{day}T12:00:00Z", **asked)
    return ruling.effect == "allow"


@settings(max_examples=150, deadline=None)
@given(st.lists(OLDER, min_size=1, max_size=3), st.lists(REQUEST, min_size=1, max_size=12))
def test_what_the_converted_policy_allows_an_older_rule_allows(rules: list[Any], requests: list[Request]) -> None:
    found = converted({"rules": named(rules)}, CATALOGUE, "x")
    policy = World(loaded(yaml_file.dump(found.policies), "permissive"))
    for request in requests:
        if allows(policy, request):
            for monday in (0, 1):
                assert any(older_match(rule, request, monday=monday, absent=False) for rule in rules), (found, request)


@settings(max_examples=150, deadline=None)
@given(st.lists(OLDER_NAMES, min_size=1, max_size=3), st.lists(REQUEST, min_size=1, max_size=12))
def test_older_names_below_policies_allow_no_more_once_converted(rules: list[Any], requests: list[Request]) -> None:
    try:
        found = converted({"policies": {"global_policies": named(rules)}}, CATALOGUE, "x")
    except ValueError:
        return  # a deny that cannot be expressed
    policy = World(loaded(yaml_file.dump(found.policies), "permissive"))
    for request in requests:
        if allows(policy, request):
            for monday in (0, 1):
                matching = [rule for rule in rules if older_match(rule, request, monday=monday, absent=True)]
                assert matching, (found, request)
                assert all(rule["allowed"] for rule in matching), (found, request)
