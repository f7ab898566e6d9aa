"""Conversion of a policy in the older format allows no more than before."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rules.asking import CATALOGUE, World, loaded

from writ_documents import yaml_file
from writ_rules.conversion import converted
from writ_rules.engine.clauses.patterns import pattern
from writ_rules.older_patterns import taken_over

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
    forms: list[dict[str, Any]] = [{"rules": []}, {"policies": {"global_policies": []}}]
    for key in ("lockout_periods", "maintenance_windows", "denied_operations"):
        for form in forms:
            with pytest.raises(ValueError, match=f"without '{key}' more would be allowed"):
                converted({**form, key: [{"name": "night"}]}, CATALOGUE, "x")
    malformed: list[Any] = [["deny all"], [None], {"d": {"allowed_operations": []}}, "x"]
    for entries in malformed:
        with pytest.raises(ValueError, match="'rules' is no list of mappings"):
            converted({"rules": entries}, CATALOGUE, "x")


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
        ({"parameter_constraints": {"service_name": {"pattern": r"\W+"}}}, "pattern '\\W+' of 'service_name' cannot"),
        ({"targets": [None]}, "targets '[None]' cannot"),
        ({"max_concurrent": 1, "max_concurrent_operations": 5}, "'max_concurrent_operations' beside 'max_concurrent'"),
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


@pytest.mark.parametrize("keys", [("target_patterns", "targets"), ("targets", "target_patterns")])
def test_an_absent_value_replaces_no_older_one(keys: tuple[str, str]) -> None:
    parts = {"target_patterns": ["web-1"], "targets": None}
    limits = {"max_concurrent_operations": 5, "max_concurrent": None}
    allow = {
        "name": "a",
        "operations": ["service_stop"],
        "allowed": True,
        **{key: parts[key] for key in keys},
        **limits,
    }
    (rule,) = converted({"policies": {"global_policies": [allow]}}, CATALOGUE, "x").policies["policies"][
        "global_policies"
    ]
    assert (rule["targets"], rule["max_concurrent"]) == (["web-1"], 5)


def test_patterns_that_both_formats_read_alike_are_taken_over() -> None:
    for text in (r"^\w+$", r"(?i)web-\d{1,3}", "^(web|db)-[^/.]+$", r"[]a|b&~\-]+\.(?:x|y)", "a{x}"):
        assert taken_over(text, deny=False) == text
    assert taken_over("^nginx$", deny=True) == r"(?:^nginx\n?$).*"
    assert taken_over("^a$|b$", deny=True) == r"(?:^a\n?$|b\n?$).*"


@pytest.mark.parametrize("deny", [False, True])
@pytest.mark.parametrize(
    "text",
    [r"\W", "[^\\d]", r"\S+", r"a\b", "a{,2}", "[[:alpha:]]", "(?i)[^i]", "(?i)é", "[a--b]", r"\Qa\E", "(?s).", "a**"],
)
def test_a_pattern_that_re2_reads_otherwise_is_not_taken_over(text: str, *, deny: bool) -> None:
    assert taken_over(text, deny=deny) is None


@pytest.mark.parametrize("text", [r"\w+", r"x[\s]", r"\d", "(?i)i", "(a$)", "a$b"])
def test_a_pattern_by_which_a_deny_would_match_less_is_not_taken_over(text: str) -> None:
    assert taken_over(text, deny=True) is None


MORE = ("{2}", "{,1}", "(?:", "(?i)", "(?i:", "(?s)", "[^", "[]", r"\w", r"\W", r"\d", r"\s", r"\S", r"\b", r"\n",
        r"\-", r"\_", "[:", ":]", "[^]a]", "[]", "[^]", "[a-i]", "[^a]", "&&", "(a|b)", "(a$|b)")  # fmt: skip
UNITS = st.sampled_from([*"abiI.^$|()-{}é[*+?\\\u0130", *MORE])
TEXTS = st.text(st.sampled_from("abiI\n]-\u0130\u0131éß1\u0663 \u00a0{,}[:_"), max_size=4)


@settings(max_examples=1500, deadline=None)
@given(st.lists(UNITS, max_size=6).map("".join), st.lists(TEXTS, min_size=1, max_size=12))
def test_a_pattern_taken_over_matches_no_more_in_an_allow_and_no_less_in_a_deny(text: str, values: list[str]) -> None:
    for deny in (False, True):
        made = taken_over(text, deny=deny)
        if made is None:
            continue
        try:
            read = pattern(made, deny=deny)
        except ValueError:
            continue  # policy refuses the file
        for value in values:
            first, second = (re.match(text, value) is not None), read.covers(value)
            assert (first <= second) if deny else (second <= first), (made, value)


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
