"""The end of a deny by its windows, and the difference an emergency would make."""

from typing import Any

import pytest
from tests.rules.asking import ALICE, CATALOGUE, NOON, at, policy, rule

from writ_contracts.inventory import Target
from writ_contracts.policy.questions import Explanation, PolicyExplainQuery
from writ_rules.explanation import explain
from writ_rules.setting import setting

HOST = Target(id="web-1", role="production", backend="local")
FREEZE = {"from": "2026-11-20", "until": "2026-11-25"}


def explained(*rules: dict[str, Any], emergency: Any = None, now: str = NOON, **sections: Any) -> Explanation:
    made = setting(policy(global_policies=list(rules), **sections), CATALOGUE, [HOST], [ALICE])
    query = PolicyExplainQuery(
        operation="service_restart", target="web-1", parameters={"service_name": "nginx"}, emergency=emergency
    )
    return explain(made, query, asker="alice", now=at(now))


def deny(name: str, *windows: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return rule(name, "service_restart", allowed=False, time_restrictions=list(windows), **keys)


@pytest.mark.parametrize(
    ("rules", "end"),
    [
        ([deny("freeze", FREEZE)], "2026-11-26T00:00:00Z"),
        ([deny("long", {**FREEZE, "until": "2027-01-08", "timezone": "Europe/Berlin"})], "2027-01-08T23:00:00Z"),
        (
            [deny("noon", {**FREEZE, "start_time": "12:00", "end_time": "12:00", "until": "2027-01-08"})],
            "2027-01-09T12:00:00Z",
        ),
        (
            [deny("day", {"start_time": "08:00", "end_time": "18:00", "timezone": "Europe/Berlin"})],
            "2026-11-24T17:00:00Z",
        ),
        ([deny("two", {"end_time": "14:00"}, {"start_time": "13:00", "end_time": "16:00"})], "2026-11-24T16:00:00Z"),
        ([deny("a", {"end_time": "14:00"}), deny("b", {"end_time": "15:00"})], "2026-11-24T15:00:00Z"),
        ([deny("night", {"start_time": "11:00", "end_time": "06:00"})], "2026-11-25T06:00:00Z"),
        ([deny("own", FREEZE, expires_at="2026-11-24T20:00:00Z")], "2026-11-24T20:00:00Z"),
        ([rule("over", "service_restart", allowed=False, expires_at="2026-12-01")], "2026-12-01T00:00:00Z"),
    ],
)
def test_denial_by_a_window_names_its_end(rules: list[dict[str, Any]], end: str) -> None:
    found = explained(*rules, rule("all", "service_restart"))
    assert (found.decision, found.ends_at) == ("deny", at(end))
    assert " until " in found.reason
    after = explained(*rules, rule("all", "service_restart"), now=end)
    assert after.decision == "allow"


@pytest.mark.parametrize(
    "rules",
    [
        [rule("always", "service_restart", allowed=False)],
        [deny("freeze", FREEZE), rule("always", "service_restart", allowed=False)],
        [deny("daily", {"start_time": "00:00", "end_time": "24:00"})],
    ],
)
def test_denial_without_an_end_in_sight_names_none(rules: list[dict[str, Any]]) -> None:
    found = explained(*rules)
    assert (found.decision, found.ends_at) == ("deny", None)


def test_end_of_a_freeze_that_comes_twice_is_not_named_once_it_is_past() -> None:
    freeze = {"start_time": "02:30", "end_time": "02:30", "timezone": "Europe/Berlin", "until": "2026-10-24"}
    before, again = (
        explained(deny("freeze", freeze), now=f"2026-10-25T{clock}Z") for clock in ("00:15:00", "01:15:00")
    )
    assert (before.decision, before.ends_at) == ("deny", at("2026-10-25T00:30:00Z"))
    assert (again.decision, again.ends_at) == ("deny", None)


def test_denial_outside_of_maintenance_names_its_end() -> None:
    windows = {
        "patch": {"start_time": "2026-11-03T11:00:00", "end_time": "2026-11-03T13:30:00", "recurrence": "weekly"}
    }
    found = explained(
        rule("patching", "service_restart", allowed=False, maintenance_windows_only=True), maintenance_windows=windows
    )
    assert found.ends_at == at("2026-11-24T13:30:00Z")


def test_explain_shows_whether_an_emergency_lifts_a_deny() -> None:
    recovery = [rule("recovery", "service_restart")]
    lifted = explained(deny("freeze", FREEZE, emergency_overridable=True), emergency_policies=recovery).in_emergency
    kept = explained(deny("freeze", FREEZE), emergency_policies=recovery).in_emergency
    assert lifted is not None
    assert kept is not None
    assert (lifted.decision, lifted.rules) == ("allow", ["recovery"])
    assert (kept.decision, kept.rules) == ("deny", ["freeze"])
    assert explained(rule("all", "service_restart")).in_emergency is None
    assert explained(deny("freeze", FREEZE), emergency_policies=recovery, emergency=True).in_emergency is None
