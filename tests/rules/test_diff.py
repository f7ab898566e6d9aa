"""Differences of two policies, compared with decisions by both about every request in a small world."""

from typing import Any

import pytest
from tests.rules.asking import ALICE, CATALOGUE, NOBODYS_KEY, NOON, at, file_of, refused, rule

from writ_contracts.errors import Invalid
from writ_contracts.inventory import Principal, Target
from writ_documents import yaml_file
from writ_documents.document import FileErrors
from writ_rules.analysis.changes import MOST_APART
from writ_rules.analysis.diff import Change, Diff, diff
from writ_rules.analysis.question_space import QuestionSpace
from writ_rules.loading import checked_document

BOB = Principal(id="bob", kind="human", key=NOBODYS_KEY, roles=["operator", "approver"])
CAROL = Principal(id="carol", kind="human", key=NOBODYS_KEY, roles=["approver"])
TARGETS = (
    Target(id="web-1", role="production", backend="local", docker={}),
    Target(id="dev-1", role="development", backend="local", docker={}),
)
SPACE = QuestionSpace(catalogue=CATALOGUE, targets=TARGETS, principals=(ALICE, BOB, CAROL))


def compared(
    old: list[dict[str, Any]], new: list[dict[str, Any]], question_space: QuestionSpace = SPACE, **keys: Any
) -> Diff:
    return diff(file_of(global_policies=old), file_of(global_policies=new, **keys), question_space, at(NOON))


def change_fields(change: Change) -> tuple[str, str, str, list[str]]:
    return change.kind, change.operation, change.role, change.principals


APPROVER_60 = "one of role approver within 60 min"
RESTART = rule("restart", "service_restart", user_roles=["operator"], target_roles=["production"])


def test_policies_that_say_the_same_in_other_words_do_not_differ() -> None:
    other = {**RESTART, "name": "another", "description": "as before"}
    assert compared([RESTART], [other]) == Diff(changes=[], compared=0, since=at(NOON))


def test_diff_shows_what_an_added_and_a_removed_rule_change() -> None:
    found = compared([RESTART], [rule("all", "service_restart", "service_stop", principal_kinds=["human"])])
    everybody, others = {"alice", "bob", "carol"}, {"carol"}
    expected = {
        ("service_restart", "development"): everybody,
        ("service_restart", "production"): others,
        ("service_stop", "development"): everybody,
        ("service_stop", "production"): everybody,
    }
    concerned = {(one.operation, one.role): set[str]() for one in found.changes}
    for one in found.changes:
        concerned[one.operation, one.role] |= set(one.principals)
    assert concerned == expected
    assert {one.kind for one in found.changes} == {"newly_allowed"}
    less = compared([RESTART], []).changes
    assert {(one.kind, one.role) for one in less} == {("newly_denied", "production")}


def test_a_limit_that_moves_is_shown_at_its_edge() -> None:
    def limited(most: int) -> list[dict[str, Any]]:
        return [{**RESTART, "parameter_constraints": {"timeout": {"type": "int", "max": most}}}]

    (_, alice) = compared(limited(100), limited(120)).changes
    assert change_fields(alice) == ("newly_allowed", "service_restart", "production", ["alice"])
    assert 100 < alice.example.parameters["timeout"] <= 120
    assert "timeout.max" in alice.before_reason
    assert alice.after_rules == ["restart"]


def test_a_window_that_moves_is_shown_in_between() -> None:
    def until(end: str) -> list[dict[str, Any]]:
        return [{**RESTART, "time_restrictions": [{"end_time": end, "timezone": "Europe/Berlin"}]}]

    (_, alice) = compared(until("18:00"), until("17:00")).changes
    assert change_fields(alice) == ("newly_denied", "service_restart", "production", ["alice"])
    assert "T16:" in alice.example.at


def test_a_pattern_that_changes_is_shown_by_a_value_between_the_two() -> None:
    def named(pattern: str) -> list[dict[str, Any]]:
        return [{**RESTART, "parameter_constraints": {"service_name": {"pattern": pattern}}}]

    (_, alice) = compared(named("web-[0-9]+"), named("(web|db)-[0-9]+")).changes
    assert alice.example.parameters["service_name"].startswith("db-")


def test_an_approval_that_comes_goes_and_grows_is_shown_with_the_approvals_that_matter() -> None:
    plain, one = [RESTART], [{**RESTART, "requires_approval": True}]
    two = [{**RESTART, "approval": {"approvers": ["approver"], "quorum": 2}}]
    assert {change.kind for change in compared(plain, one).changes} == {"newly_needs_approval"}
    assert {change.kind for change in compared(one, plain).changes} == {"no_longer_needs_approval"}
    more = compared(one, two).changes
    assert [(change.kind, change.principals, change.example.approvals) for change in more] == [
        ("newly_needs_approval", ["bob"], ["carol"]),
        ("newly_needs_approval", ["alice"], ["carol"]),
    ]


def test_diff_supposes_a_listing_with_and_without_the_value() -> None:
    listed = [{**RESTART, "parameter_constraints": {"service_name": {"allowlist_source": "list_services"}}}]
    (_, alice) = compared([RESTART], listed).changes
    assert (alice.kind, alice.example.facts) == ("newly_denied", {"listings": {"list_services": []}})
    (_, alice) = compared([], listed).changes
    assert alice.kind == "newly_allowed"
    assert alice.example.parameters["service_name"] in alice.example.facts["listings"]["list_services"]


def test_diff_supposes_scan_reports_each_relevant_way() -> None:
    def scanned(severity: str) -> list[dict[str, Any]]:
        return [
            RESTART,
            rule("no", "service_restart", allowed=False, scans=[{"scanner": "trivy", "severity": severity}]),
        ]

    (_, alice) = compared(scanned("high"), scanned("medium")).changes
    assert alice.kind == "newly_denied"
    assert alice.example.facts == {"scans": {"trivy": [{"id": "a-finding", "severity": "medium"}]}}


def test_attributes_of_targets_are_made_up_as_the_rules_require() -> None:
    tier = [{**RESTART, "target_attributes": {"tier": {"max": 2}}}]
    found = compared([], tier, QuestionSpace(catalogue=CATALOGUE))
    (change,) = found.changes
    (target,) = [one for one in found.targets if one.id == change.example.target]
    assert target.attributes["tier"] in (1, 1.5, 2)


def test_a_maintenance_window_is_met() -> None:
    window = {
        "name": "sundays",
        "start_time": "2026-01-04T02:00:00Z",
        "end_time": "2026-01-04T06:00:00Z",
        "recurrence": "weekly",
    }
    only = [{**RESTART, "maintenance_windows_only": True}]
    (_, alice) = compared([], only, maintenance_windows=[window]).changes
    assert (alice.kind, alice.example.at[:10]) == ("newly_allowed", "2026-11-29")


def test_diff_supposes_an_emergency_for_emergency_rules() -> None:
    (_, alice) = compared([], [], emergency_policies=[RESTART]).changes
    assert (alice.kind, alice.example.emergency) == ("newly_allowed", True)


def test_diff_without_files_names_synthetic_targets_and_principals() -> None:
    found = compared([RESTART], [], QuestionSpace(catalogue=CATALOGUE))
    (change,) = found.changes
    assert change.principal_kinds == ["agent", "human", "service"]
    assert change.principal_roles == ["operator"]
    assert change.example.target in {target.id for target in found.targets}
    assert change.example.principal in {principal.id for principal in found.principals}


def test_diff_distinguishes_dry_runs_from_requests() -> None:
    assert compared([], [], enable_dry_run=False).notes == ["dry runs are refused from now on"]


def test_a_policy_that_does_not_compile_is_refused() -> None:
    with pytest.raises(Invalid, match="2 rules have the name"):
        compared([RESTART, RESTART], [])


@pytest.mark.parametrize(
    ("before", "after", "terms"),
    [
        ({"max_targets": 3}, {"max_targets": 300}, ["max_targets of 'restart': 3 → 300"]),
        ({"max_concurrent": 2}, {}, ["max_concurrent of 'restart': 2 → none"]),
        ({"operation_timeout": 100}, {"operation_timeout": 200}, ["operation_timeout: 100 s → 200 s"]),
        (
            {"approval": {"timeout": "30m"}},
            {"approval": {"timeout": "60m"}},
            ["approval for 'restart': one of role approver within 30 min → one of role approver within 60 min"],
        ),
        (
            {"approval": {"windows": True}},
            {"approval": {"windows": False}},
            [f"approval for 'restart': {APPROVER_60} → {APPROVER_60}, approval windows do not count"],
        ),
        (
            {"parameter_constraints": {"timeout": {"default": 50}}},
            {"parameter_constraints": {"timeout": {"default": 51}}},
            ["default of timeout: 50 → 51"],
        ),
    ],
)
def test_diff_shows_other_terms_of_an_allow(before: Any, after: Any, terms: list[str]) -> None:
    one = {**RESTART, "users": ["alice"]}
    found = compared([{**one, **before}], [{**one, **after}])
    (change,) = found.changes
    assert (change.kind, change.terms, change.changed) == ("other_terms", terms, ["restart"])
    assert change.before == change.after
    assert found.since == at(NOON)


def test_diff_notes_changed_bounds_of_emergencies_windows_and_sessions() -> None:
    bounds: dict[str, Any] = {
        "emergencies": {"longest": "4h"},
        "approval_windows": {"most_uses": 3},
        "sessions": {"idle": "60m"},
    }
    found = compared([RESTART], [RESTART], **bounds)
    assert (found.changes, found.notes) == (
        [],
        ["emergencies.longest: 8h → 4h", "approval_windows.most_uses: 50 → 3"],
    )


def test_diff_names_changed_rules_that_no_request_reaches() -> None:
    elsewhere = {**RESTART, "name": "elsewhere", "targets": ["db-*"]}
    same = {**elsewhere, "name": "same"}
    found = compared([RESTART, elsewhere, same], [{**RESTART, "max_targets": 2}, {**elsewhere, "max_targets": 2}, same])
    assert ({one.changed[0] for one in found.changes}, found.unreached) == ({"restart"}, ["elsewhere"])


def test_a_rule_whose_scope_alone_denies_is_not_called_unreached() -> None:
    everybody = rule("all", "service_restart")
    critical = rule("critical", "service_restart", target_attributes={"criticality": "high"})
    web = Target(
        id="web-1", role="production", backend="local", docker={}, gateway="gw", attributes={"criticality": "low"}
    )
    space = QuestionSpace(catalogue=CATALOGUE, targets=(web,), principals=(ALICE,))
    limiting = {"gateway": [{**critical, "inherit": True}]}
    for old, new in (
        (
            file_of(global_policies=[], deny_by_default=False),
            file_of(global_policies=[critical], deny_by_default=False),
        ),
        (file_of(global_policies=[everybody]), file_of(global_policies=[everybody], role_policies=limiting)),
    ):
        found = diff(old, new, space, at(NOON))
        assert [(one.kind, one.changed) for one in found.changes] == [("newly_denied", ["critical"])]
        assert found.unreached == []
    closed = compared([everybody], [everybody, critical], space)
    assert (closed.changes, closed.unreached) == ([], ["critical"])


def test_changes_name_the_rules_that_differ() -> None:
    no = rule("no", "service_restart", allowed=False, users=["alice"])
    found = compared([RESTART], [RESTART, no])
    assert [(one.kind, one.changed) for one in found.changes] == [("newly_denied", ["no"])]
    opened = compared([], [], deny_by_default=False).changes
    assert {tuple(one.changed) for one in opened} == {("deny_by_default",)}


def constrained(name: str, **constraints: Any) -> dict[str, Any]:
    return rule(name, "service_stop", parameter_constraints=constraints)


@pytest.mark.parametrize("question_space", [SPACE, QuestionSpace(catalogue=CATALOGUE)])
def test_changes_name_every_rule_that_differs_in_the_same_way(question_space: QuestionSpace) -> None:
    def limited(most: int, *names: str) -> list[dict[str, Any]]:
        return [
            constrained("a", service_name={"allowed_values": ["nginx"]}, timeout={"max": most}),
            constrained("b", service_name={"allowed_values": ["chrony", *names]}),
        ]

    found = compared(limited(60), limited(61, "ssh"), question_space).changes
    assert {(one.kind, *one.changed) for one in found} == {("newly_allowed", "a"), ("newly_allowed", "b")}
    assert all(one.after_rules == one.changed for one in found)
    assert {(one.example.parameters["service_name"], *one.changed) for one in found} == {("nginx", "a"), ("ssh", "b")}


def test_changed_terms_and_denials_name_every_rule_too() -> None:
    def named(**keys: Any) -> list[dict[str, Any]]:
        names = {"a": ["nginx"], "b": ["ssh"], "c": ["ssh"]}
        return [{**constrained(name, service_name={"allowed_values": of}), **keys} for name, of in names.items()]

    found = compared(named(operation_timeout=100), named(operation_timeout=200)).changes
    assert {(one.kind, *one.changed) for one in found} == {("other_terms", "a"), ("other_terms", "b", "c")}
    every = rule("every", "service_stop")
    found = compared([every, *named(allowed=False)], [every]).changes
    assert {(one.kind, name) for one in found for name in one.changed} == {("newly_allowed", name) for name in "abc"}


def test_very_many_changes_of_one_kind_are_merged_and_name_every_rule() -> None:
    def named(**keys: Any) -> list[dict[str, Any]]:
        return [
            {**constrained(f"r{number}", service_name={"allowed_values": [f"app{number}"]}), **keys}
            for number in range(MOST_APART + 20)
        ]

    everybody = QuestionSpace(catalogue=CATALOGUE, targets=TARGETS[:1], principals=(ALICE,))
    found = compared(named(max_targets=2), named(max_targets=2, allowed=False), everybody)
    assert len(found.changes) == MOST_APART + 1
    assert {name for one in found.changes for name in one.changed} == {one["name"] for one in named()}


def test_a_limit_of_the_comparison_names_each_role_that_it_concerns() -> None:
    def named(**keys: Any) -> list[dict[str, Any]]:
        patterns = [{"service_name": {"pattern": f"app{number}-[a-z]+"}} for number in range(20)]
        return [{**constrained(f"r{number}", **one), **keys} for number, one in enumerate(patterns)]

    found = compared(named(), named(max_targets=2))
    assert {note.partition(":")[0] for note in found.bounded} == {
        "service_stop on production",
        "service_stop on development",
    }


def test_several_roles_are_not_shown_for_the_rules_of_each_alone() -> None:
    rules = [rule(role, "service_stop", user_roles=[role]) for role in ("operator", "approver")]
    both = rule("both", "service_stop", user_roles=["operator"], targets=["web-*"])
    found = compared([], [*rules, both], QuestionSpace(catalogue=CATALOGUE)).changes
    assert {tuple(one.principal_roles) for one in found} == {("operator",), ("approver",)}
    assert {name for one in found for name in one.changed} == {"operator", "approver", "both"}


@pytest.mark.parametrize(
    "text",
    [
        "policies: {global_policies: [{name: a, allowed: true, operations: [service_stop], expires_at: never}]}",
        "policies: {global_policies: [{name: a, allowed: true, operations: ['group:x']}]}",
    ],
)
def test_a_policy_to_compare_is_refused_as_in_permissive_mode(text: str) -> None:
    document = yaml_file.parse(text.encode(), "policy.yaml")
    with pytest.raises(FileErrors) as caught:
        checked_document(document, CATALOGUE)
    assert [str(problem) for problem in caught.value.found] == refused(text, "permissive")
