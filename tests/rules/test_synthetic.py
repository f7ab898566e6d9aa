"""Without files, targets and principals are invented: every rule gets a principal and a target in its scope."""

from typing import Any

import pytest
from tests.rules.asking import CATALOGUE, NOON, at, file_of, rule

from writ_rules.analysis.diff import Diff, diff
from writ_rules.analysis.question_space import QuestionSpace
from writ_rules.analysis.synthetic import MOST_PRINCIPALS, MOST_TARGETS, principals, targets
from writ_rules.engine.compile import compile_policy

MANY_TARGETS = [f"web-{number}" for number in range(60)]
MANY_TAGS = [f"tag-{number}" for number in range(40)]
MANY_PEOPLE = [f"user-{number}" for number in range(300)]
MANY_ROLES = [f"role-{number}" for number in range(40)]


def added(*rules: dict[str, Any], **sections: Any) -> Diff:
    """Return the difference that these rules make to an empty policy."""
    return diff(
        file_of(), file_of(global_policies=list(rules), **sections), QuestionSpace(catalogue=CATALOGUE), at(NOON)
    )


@pytest.mark.parametrize(
    "keys",
    [
        {"targets": ["web-1"], "target_roles": ["production"]},
        {"targets": ["web-*"], "target_roles": ["staging", "maintenance"]},
        {"targets": ["web-1", "db-1"], "target_tags": ["eu"], "target_roles": ["production"]},
        {"targets": ["web-1"], "target_attributes": {"tier": [1, 2], "cost": {"max": 10}}, "target_roles": ["testing"]},
        {"users": ["alice"], "user_roles": ["sre"], "principal_kinds": ["agent", "service"]},
    ],
)
def test_every_rule_has_a_synthetic_principal_and_target(keys: dict[str, Any]) -> None:
    found = added(rule("may", "service_restart", **keys))
    every = ("development", "gateway", "maintenance", "production", "staging", "testing")
    assert [change.role for change in found.changes] == sorted(keys.get("target_roles", every))
    assert {change.kind for change in found.changes} == {"newly_allowed"}
    assert found.bounded == []


def test_every_rule_has_a_synthetic_subject_and_omitted_ones_are_noted() -> None:
    tagged = rule("tagged", "service_restart", target_tags=MANY_TAGS, target_roles=["testing"])
    found = added(tagged, rule("named", "service_restart", targets=MANY_TARGETS, target_roles=["staging"]))
    assert {change.role for change in found.changes} == {"staging", "testing"}
    assert found.bounded == ["service_restart: of 30744 kinds of targets, 2000 samples were generated"]
    people = rule("people", "service_restart", users=MANY_PEOPLE)
    found = added(people, rule("services", "service_restart", user_roles=MANY_ROLES, principal_kinds=["service"]))
    assert {rule for change in found.changes for rule in change.after_rules} >= {"people", "services"}
    assert found.bounded == ["service_restart: of 37926 kinds of principals, 600 samples were generated"]


def test_synthetic_subjects_are_distinct_and_counted() -> None:
    rules = [rule("one", "service_restart", targets=MANY_TARGETS, target_tags=MANY_TAGS, users=MANY_PEOPLE)]
    made, _ = compile_policy(file_of(global_policies=rules), CATALOGUE)
    assert made is not None
    compiled = made.index["service_restart", "production"]
    found = targets(CATALOGUE["service_restart"], compiled)
    assert len(found) == MOST_TARGETS
    assert len({(one.id, one.role, one.gateway, *one.tags) for one in found}) == MOST_TARGETS
    assert len(principals(compiled)) <= MOST_PRINCIPALS


def test_an_inherited_rule_of_a_gateway_is_about_targets_behind_one() -> None:
    before = file_of(global_policies=[rule("may", "service_restart")])
    limit = rule("limit", "service_restart", allowed=False, targets=["web-1"])
    after = file_of(global_policies=[rule("may", "service_restart")], role_policies={"gateway": [limit]})
    found = diff(before, after, QuestionSpace(catalogue=CATALOGUE), at(NOON))
    assert {(change.role, *change.targets) for change in found.changes} == {
        (role, "web-1") for role in ("gateway", "production", "staging", "development", "testing", "maintenance")
    }


@pytest.mark.parametrize(("key", "value"), [("targets", "app{}-*"), ("target_tags", "app-{}"), ("users", "user-{}")])
def test_a_changed_rule_gets_synthetic_subjects_before_the_unchanged_ones(key: str, value: str) -> None:
    rules = [rule(f"rule-{number}", "service_restart") | {key: [value.format(number)]} for number in range(400)]
    changed = [*rules[:350], {**rules[350], "operation_timeout": 30}, *rules[351:]]
    found = diff(
        file_of(global_policies=rules), file_of(global_policies=changed), QuestionSpace(catalogue=CATALOGUE), at(NOON)
    )
    assert {(change.kind, *change.changed) for change in found.changes} == {("other_terms", "rule-350")}
