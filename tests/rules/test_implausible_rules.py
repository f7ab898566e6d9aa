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
            {"operation_timeout": 10, "parameter_constraints": {"timeout": {"min": 20, "allowed_values": [30, 60]}}},
            "ends every operation sooner than the 30 s that timeout.allowed_values requires",
        ),
        (
            {"target_attributes": {"tier": ["1", 2]}},
            "has values of several kinds (number, text): '1' is not equal",
        ),
        ({"target_attributes": {"tier": {"denied_values": [True, 2]}}}, "has values of several kinds (number, truth"),
        (
            {"targets": ["web-.*", "a"]},
            "no id is 'web-.*': ids have 1 to 64 letters, digits, - and _; write '*'",
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


def test_days_of_a_maintenance_window_from_sunday_on_are_a_warning() -> None:
    window = {"start_time": "2026-11-30T08:00", "end_time": "2026-11-30T18:00", "recurrence": "weekly"}
    file = file_of(
        global_policies=[rule("a", "service_restart", maintenance_windows_only=True)],
        maintenance_windows={"m": {**window, "days_of_week": [0, 1, 2, 3, 4]}},
    )
    (reported,) = findings_of(file, CATALOGUE)[1]
    assert reported.keys == ("policies", "maintenance_windows", "m", "days_of_week")
    assert reported.message.startswith("0 is Sunday, so these are Sunday to Thursday")


@pytest.mark.parametrize("keys", [{"targets": ["prod-.*"]}, {"targets": ["web 1"]}, {"users": ["al@example.org"]}])
@pytest.mark.parametrize("allowed", [True, False])
def test_an_id_that_nothing_can_have_is_vacuous(keys: dict[str, Any], *, allowed: bool) -> None:
    (reported,) = every(rule("a", "service_restart", allowed=allowed, **keys))
    assert reported.startswith("lint: vacuous: 'a' never matches: no id is '")


def test_one_id_that_nothing_can_have_is_vacuous_in_a_deny() -> None:
    (reported,) = every(rule("a", "service_restart", allowed=False, targets=["**a?", "prod-.*"]))
    assert reported.startswith("lint: vacuous: no id is 'prod-.*'")


def test_short_timeouts_without_an_approval_and_long_ones_with_one_are_no_finding() -> None:
    demanding = rule("slow", "service_restart", requires_approval=True, parameter_constraints={"timeout": {"min": 61}})
    short = rule("short", "service_restart", parameter_constraints={"timeout": {"max": 60}})
    assert every(demanding, short) == []


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


WRITES = ["file_write", "file_copy", "backup_restore"]
BELOW_SRV = {"pattern": "/srv/.*"}


def test_allow_rule_that_bounds_a_path_of_other_operations_is_a_warning() -> None:
    reported = every({**rule("a", "file_write", parameter_constraints={"file_path": BELOW_SRV}), "operations": WRITES})
    assert reported == [
        f"warning: 'a' bounds file_path, which {operation} does not have, so it allows any {path}: bound {path} too, "
        f"or allow {operation} by a rule of its own"
        for operation, path in (("file_copy", "dest_path"), ("backup_restore", "target_path"))
    ]


@pytest.mark.parametrize(
    "keys",
    [
        {"parameter_constraints": {"file_path": BELOW_SRV, "dest_path": BELOW_SRV, "target_path": BELOW_SRV}},
        {"parameter_constraints": {"timeout": {"max": 60}}},  # of all operations
        {"parameter_constraints": {"file_path": BELOW_SRV}, "allowed": False},  # denies more, not less
        {"parameter_constraints": {"file_path": BELOW_SRV}, "operations": ["file_read", "service_restart"]},
        {"parameter_constraints": {"file_path": BELOW_SRV}, "operations": ["file_read", "snapshot_list"]},
    ],
)
def test_rule_that_bounds_each_path_or_none_has_no_finding(keys: dict[str, Any]) -> None:
    assert every({**rule("a", "file_write"), "operations": WRITES, **keys}) == []
