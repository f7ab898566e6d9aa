"""Lint reports rules, policies and windows whose time is over, beside the present time."""

from typing import Any

import pytest
from tests.rules.asking import CATALOGUE, NOON, at, file_of, rule

from writ_documents import yaml_file
from writ_rules.lint.expired_rules import expired
from writ_rules.validation import ValidationContext, validate_text


def over(*rules: dict[str, Any], **sections: Any) -> list[str]:
    return [finding.message for finding in expired(file_of(global_policies=list(rules), **sections), at(NOON))]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"expires_at": "2026-11-24"}, "'a' expired at 2026-11-24: it never matches"),
        (
            {"time_restrictions": [{"until": "2026-11-23", "start_time": "22:00", "end_time": "06:00"}]},
            "the window ended Tue 2026-11-24 06:00 UTC: 'a' never matches",
        ),
        (
            {"time_restrictions": [{"until": "2026-11-20"}, {"until": "2026-12-20"}]},
            "the window ended Sat 2026-11-21 00:00 UTC",
        ),
    ],
)
def test_an_expired_part_of_a_rule_is_found(keys: dict[str, Any], message: str) -> None:
    assert over(rule("a", "service_restart", **keys)) == [message]


@pytest.mark.parametrize(
    "keys",
    [
        {"expires_at": "2026-11-25"},
        {"expires_at": "2026-11-20", "enabled": False},
        {"time_restrictions": [{"until": "2026-11-24"}]},
        {"time_restrictions": [{"until": "2026-11-23", "start_time": "22:00", "end_time": "18:00"}]},
    ],
)
def test_a_part_that_still_counts_is_no_finding(keys: dict[str, Any]) -> None:
    assert over(rule("a", "service_restart", **keys)) == []


def test_an_expired_policy_and_a_past_maintenance_window_are_found() -> None:
    once = {"start_time": "2026-11-01T00:00:00Z", "end_time": "2026-11-02T00:00:00Z"}
    weekly = {**once, "recurrence": "weekly"}
    assert over(expires_at="2026-11-24T12:00:00Z", maintenance_windows={"patch": once, "weekly": weekly}) == [
        "the policy expired at 2026-11-24T12:00:00Z: everything is denied",
        "the window ended Mon 2026-11-02 00:00 UTC",
    ]


def test_validation_at_a_time_shows_what_is_over() -> None:
    text = yaml_file.dump({"policies": {"global_policies": [rule("a", "service_restart", expires_at="2026-11-01")]}})
    assert validate_text(text, "policy", CATALOGUE, "strict").found == []
    (finding,) = validate_text(text, "policy", CATALOGUE, "strict", ValidationContext(now=at(NOON))).found
    assert (finding.severity, finding.problem.line) == ("warning", 7)
