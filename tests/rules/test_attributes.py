"""Conditions on the inventory's typed attributes: an absent value, or one of another type, never allows."""

from typing import Any

import pytest
from tests.rules.asking import CATALOGUE, World, file_of, policy, rule

from writ_rules.engine.compile import compile_policy
from writ_rules.engine.policy_file.findings import Severity
from writ_testing.each_case import each_case

RESTARTS = rule("restarts", "service_restart")


def code_of(required: Any, attributes: dict[str, Any], *, allowed: bool) -> str:
    about = {**RESTARTS, "name": "about", "allowed": allowed, "target_attributes": {"tier": required}}
    rules = [about] if allowed else [RESTARTS, about]
    return World(policy(global_policies=rules)).ask(target={"attributes": attributes}).code


@each_case(
    ("required", "value", "holds"),
    [
        ("gold", "gold", True),
        ("gold", "Gold", False),
        (["gold", "silver"], "silver", True),
        ([1, "gold"], 2, False),
        (1, 1.0, True),
        (True, True, True),
        (True, False, False),
        ({"min": 1, "max": 3}, 3, True),
        ({"min": 1, "max": 3}, 4, False),
        ({"type": "float"}, 3, True),
        ({"pattern": "go.*", "max_length": 4}, "gold", True),
        ({"pattern": "go"}, "gold", False),
        ({"allowed_values": ["gold"]}, "gold", True),
        ({"denied_values": ["gold"]}, "gold", False),
    ],
)
def test_attribute_matches_the_required_value(required: Any, value: Any, holds: bool) -> None:
    assert code_of(required, {"tier": value}, allowed=True) == ("allowed" if holds else "no_rule")
    assert code_of(required, {"tier": value}, allowed=False) == ("denied" if holds else "allowed")


@each_case(
    ("required", "attributes"),
    [
        ("gold", {}),
        ({"min": 1}, {}),
        ("gold", {"tier": 1}),
        (1, {"tier": True}),
        (["gold", True], {"tier": 1}),
        ({"type": "int"}, {"tier": 1.5}),
        ({"type": "int"}, {"tier": True}),
        ({"min": 1}, {"tier": "gold"}),
        ({"pattern": "1"}, {"tier": 1}),
        ({"allowed_values": ["1"]}, {"tier": 1}),
        ({"denied_values": ["1"]}, {"tier": 1}),
        ({"allowed_values": [1]}, {"tier": True}),
        ({"denied_values": []}, {"tier": 1}),
    ],
)
def test_absent_or_mistyped_attribute_does_not_match_an_allow_and_errs_in_a_deny(
    required: Any, attributes: dict[str, Any]
) -> None:
    assert code_of(required, attributes, allowed=True) == "no_rule"
    assert code_of(required, attributes, allowed=False) == "rule_error"


def test_certain_failure_outweighs_a_check_of_the_wrong_type() -> None:
    assert code_of({"pattern": "1", "max": 5}, {"tier": 9}, allowed=False) == "allowed"


def test_trace_shows_the_attribute_with_both_values() -> None:
    about = {**RESTARTS, "target_attributes": {"tier": ["gold", "silver"]}}
    entry = World(policy(global_policies=[about])).ask(target={"attributes": {"tier": "lead"}}).trace[0]
    assert (entry.clause, entry.expected, entry.got) == ("target_attributes.tier", 'one of ["gold","silver"]', '"lead"')


@each_case(
    ("required", "why"),
    [
        ({"allowed_values": ["high"], "denied_values": ["high"]}, "each of allowed_values is excluded by the rest"),
        ({"min": 5, "allowed_values": [1, 2]}, "each of allowed_values is excluded by the rest"),
        ({"min_length": 5, "allowed_values": ["ab"]}, "each of allowed_values is excluded by the rest"),
        ({"pattern": "a.*", "allowed_values": ["ba"]}, "each of allowed_values is excluded by the rest"),
        ({"type": "int", "allowed_values": ["1", 2.5, 1.5]}, "each of allowed_values is excluded by the rest"),
        ({"min": 1, "allowed_values": ["1"]}, "min, allowed_values do not fit the same type"),
        ({"type": "int", "denied_values": ["1"]}, "type int, denied_values do not fit the same type"),
        ({"allowed_values": []}, "allowed_values is an empty list"),
        ({"type": "string", "min": 2}, "type string, min do not fit the same type"),
        ({"type": "float", "pattern": "1"}, "type float, pattern do not fit the same type"),
        ({"max": 2, "max_length": 2}, "max, max_length do not fit the same type"),
    ],
)
@each_case("allowed", [True, False])
def test_lint_reports_a_constraint_that_no_value_fulfils(required: dict[str, Any], why: str, *, allowed: bool) -> None:
    assert findings_of_value(required, allowed=allowed) == [f"{why}: no value matches"]
    values: list[Any] = ["high", "ab", "abcde", "ba", "1", 1, 2, 5, 1.5, True, False, ""]
    answers = {code_of(required, {"tier": value}, allowed=allowed) for value in values}
    assert answers <= ({"no_rule"} if allowed else {"allowed", "rule_error"})


@pytest.mark.parametrize(
    "required",
    [
        {"allowed_values": ["high", "low"], "denied_values": ["high"]},
        {"type": "float", "min": 1, "allowed_values": [2]},
        {"type": "int", "min": 1, "max": 1},
        {"pattern": "a", "min_length": 9},
        {"type": "bool", "denied_values": [True]},
        {"denied_values": []},
        {},
    ],
)
def test_value_for_another_attribute_has_no_finding(required: dict[str, Any]) -> None:
    assert findings_of_value(required, allowed=True) == []


def findings_of_value(required: dict[str, Any], *, allowed: bool) -> list[str]:
    about = {**RESTARTS, "allowed": allowed, "target_attributes": {"tier": required}}
    _, found = compile_policy(file_of(global_policies=[about]), CATALOGUE)
    assert all(finding.severity is Severity.LINT for finding in found)
    return [finding.message for finding in found]
