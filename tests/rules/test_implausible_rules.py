"""Lint reports rules that load, but that their author hardly intended, by one key at a time."""

from typing import Any

import pytest
from tests.rules.asking import CATALOGUE, file_of, rule

from writ_rules.loading import findings_of


def every(*rules: dict[str, Any]) -> list[str]:
    """Return all findings of a file."""
    _, findings = findings_of(file_of(global_policies=list(rules)), CATALOGUE)
    return [f"{finding.severity}: {finding.message}" for finding in findings]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"inherit": False}, "it has an effect only in rules under role_policies.gateway"),
        ({"time_restrictions": [{"days_of_week": [0, 1, 2, 3, 4]}]}, "0 is Sunday, so these are Sunday to Thursday"),
        (
            {"operation_timeout": 10, "parameter_constraints": {"timeout": {"min": 30}}},
            "ends every operation sooner than the 30 s that timeout.min requires",
        ),
        (
            {"parameter_constraints": {"service_name": {"allowlist_source": "list_ports"}}},
            "'list_ports' lists no service name: it lists ports",
        ),
        (
            {"parameter_constraints": {"timeout": {"allowed_values": [60, 100_000]}}},
            "service_restart.timeout must be a whole number from 1 to ",
        ),
    ],
)
def test_implausible_rule_is_a_warning(keys: dict[str, Any], message: str) -> None:
    (reported,) = every(rule("a", "service_restart", **keys))
    assert reported.startswith("warning: ")
    assert message in reported


def test_values_of_another_kind_than_the_parameter_are_a_finding() -> None:
    (reported,) = every(rule("a", "service_restart", parameter_constraints={"timeout": {"denied_values": ["60"]}}))
    assert reported == "lint: service_restart.timeout is of type int, which 'denied_values' can't judge"


def test_lint_reports_a_policy_without_rules() -> None:
    assert every() == ["warning: the policy has no rule: everything is denied"]


@pytest.mark.parametrize(
    "operations", [["plugin_thing"], [], ["group:missing"], ["service_stop", "plugin_thing"]], ids=" ".join
)
def test_unknown_operations_leave_open_which_parameters_they_have(operations: list[str]) -> None:
    found = every(rule("a", *operations, parameter_constraints={"thing": {"max": 1}}))
    assert any("there is no" in finding or "an empty list" in finding for finding in found)
    assert not any("has the parameter" in finding for finding in found)
