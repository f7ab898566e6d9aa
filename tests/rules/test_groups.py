"""Groups of operations and targets decide like the lists they stand for."""

from typing import Any

import pytest
from tests.rules.asking import ALICE, CATALOGUE, NOON, at, file_of, loaded, policy, refused, rule

from writ_contracts.inventory import Target
from writ_documents import yaml_file
from writ_rules.analysis.diff import diff
from writ_rules.analysis.question_space import QuestionSpace
from writ_rules.engine.policy_file import groups
from writ_rules.engine.policy_file.groups import placed
from writ_rules.loading import compile_document
from writ_rules.setting import AccessQuestion, setting

HOSTS = [Target(id=name, role="production", backend="local") for name in ("web-1", "db-1", "lb")]
GROUPS = {
    "operations": {"restarts": ["service_restart", "group:starts"], "starts": ["service_start"]},
    "targets": {"front": ["web-*", "lb"]},
}
GROUPED = rule("a", "group:restarts", "service_stop", targets=["group:front"])
LISTED = rule("a", "service_stop", "service_restart", "service_start", targets=["web-*", "lb"])


def test_a_rule_with_groups_decides_as_one_with_their_members() -> None:
    grouped, listed = (
        setting(policy(global_policies=[one], groups=GROUPS), CATALOGUE, HOSTS, [ALICE]) for one in (GROUPED, LISTED)
    )
    for operation in ("service_restart", "service_start", "service_stop", "service_status"):
        for host in HOSTS:
            question = AccessQuestion(
                principal="alice",
                operation=operation,
                target=host.id,
                at=at(NOON),
                parameters={"service_name": "nginx"},
            )
            assert grouped.decide(question).effect == listed.decide(question).effect
            expected = host.id != "db-1" and operation != "service_status"
            assert (grouped.decide(question).effect == "allow") is expected


def test_a_diff_sees_members_and_not_groups() -> None:
    space = QuestionSpace(catalogue=CATALOGUE, targets=tuple(HOSTS), principals=(ALICE,))
    before = file_of(global_policies=[LISTED])
    same = file_of(global_policies=[GROUPED], groups=GROUPS)
    more = file_of(global_policies=[GROUPED], groups={**GROUPS, "targets": {"front": ["web-*", "lb", "db-1"]}})
    assert diff(before, same, space, at(NOON)).changes == []
    assert {change.kind for change in diff(same, more, space, at(NOON)).changes} == {"newly_allowed"}


def text(*rules: dict[str, Any], **sections: Any) -> str:
    return yaml_file.dump({"policies": {"groups": sections, "global_policies": list(rules)}})


@pytest.mark.parametrize(
    ("sections", "entry", "message"),
    [
        ({}, rule("a", "group:restart"), "there is no group 'restart' of operations"),
        (GROUPS, rule("a", "group:restart"), "there is no group 'restart' of operations; did you mean 'restarts'?"),
        (
            GROUPS,
            rule("a", "service_stop", allowed=False, targets=["group:back"]),
            "there is no group 'back' of targets",
        ),
        (
            {"operations": {"x": ["group:y"], "y": ["group:x"]}},
            rule("a", "service_stop"),
            "the group 'x' contains itself: x, y",
        ),
        ({"operations": {"x": ["group:z"]}}, rule("a", "service_stop"), "there is no group 'z' of operations"),
        (GROUPS, rule("a", "restarts"), "there is no operation 'restarts'; did you mean 'group:restarts'?"),
        (GROUPS, rule("a") | {"operations": [{"group": "restarts"}]}, "without the space, in quotes"),
        (
            {"operations": {"x": ["service_restrat"]}},
            rule("a", "group:x"),
            "there is no operation 'service_restrat'; did you mean 'service_restart'?",
        ),
        ({"targets": {"x": []}}, rule("a", "service_stop", targets=["group:x"]), "an empty list covers nobody"),
        (
            {"targets": {"x": [f"web-{number}" for number in range(1_001)]}},
            rule("a", "service_stop", targets=["group:x"]),
            "the group has more than 1000 members",
        ),
    ],
)
def test_a_mistake_in_groups_is_refused_with_its_place(
    sections: dict[str, Any], entry: dict[str, Any], message: str
) -> None:
    assert any(message in one for one in refused(text(entry, **sections)))


def test_an_unknown_group_is_refused_in_both_modes_at_its_line() -> None:
    document = text(rule("a", "service_stop", "group:nothing", allowed=False))
    for mode in ("strict", "permissive"):
        (problem,) = refused(document, mode)
        assert problem.startswith("policy.yaml:7:")


def test_a_mistake_beside_a_group_keeps_its_line() -> None:
    document = text(rule("a", "group:restarts", "service_stpo"), **GROUPS)
    (problem,) = refused(document)
    line = next(number for number, one in enumerate(document.splitlines(), 1) if "service_stpo" in one)
    assert problem.startswith(f"policy.yaml:{line}:")


def test_the_rules_of_a_file_get_a_limited_number_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "MOST_EXPANDED", 3)
    rules = [rule(f"r{number}", "service_stop", targets=["group:front"]) for number in range(2)]
    assert any("add more than 3 names" in one for one in refused(text(*rules, **GROUPS)))


def test_expansion_keeps_the_places_of_other_items() -> None:
    (found,) = placed(file_of(global_policies=[GROUPED], groups=GROUPS).policies)
    assert found.entry.operations == [None, "service_stop", "service_restart", "service_start"]
    assert loaded(text(GROUPED, **GROUPS)).rules == 1


def test_a_group_that_nothing_refers_to_is_a_warning_at_its_name() -> None:
    unused = {"operations": {**GROUPS["operations"], "old": ["service_stop"]}, "targets": GROUPS["targets"]}
    source = text(GROUPED, **unused)
    policy, warnings = compile_document(yaml_file.parse(source.encode(), "policy.yaml"), CATALOGUE, "strict")
    assert policy.rules == 1
    assert [one.message for one in warnings] == [
        "nothing refers to the group 'old': write group:old in operations of a rule"
    ]
    line = next(number for number, one in enumerate(source.splitlines(), 1) if "old:" in one)
    assert [one.line for one in warnings] == [line]
