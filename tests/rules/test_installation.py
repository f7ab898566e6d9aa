"""Names in a policy that the installation lacks, and approvals that nobody there can give."""

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from tests.architecture.tree import ROOT
from tests.rules.asking import ALICE, CATALOGUE, NOBODYS_KEY, file_of, rule

from writ_contracts.inventory import Principal, Target
from writ_documents import shapes, yaml_file
from writ_documents.readers import read_inventory, read_principals
from writ_rules.engine.policy_file.findings import Severity
from writ_rules.engine.policy_file.format import PolicyDocument
from writ_rules.lint.installation_lint import as_warnings, lint_with
from writ_rules.validation import ValidationContext, validate_file
from writ_testing.each_case import each_case

BOB = Principal(id="bob", kind="human", key=NOBODYS_KEY, roles=["approver", "operator"])
BOT = Principal(id="bot", kind="agent", key=NOBODYS_KEY, roles=["assistant"], acts_for="bob")
PEOPLE = (ALICE, BOB, BOT)
TARGETS = (
    Target(id="web-1", role="production", backend="local", docker={}, tags=["web"], attributes={"tier": 1}),
    Target(id="box-1", role="staging", backend="docker", gateway="gw-1"),
)


def found(*rules: dict[str, Any], people: Any = PEOPLE, targets: Any = TARGETS, **sections: Any) -> list[str]:
    file = file_of(global_policies=list(rules), **sections)
    return [
        f"{finding.severity}: {finding.message}"
        for finding in lint_with(file, CATALOGUE, targets=targets, principals=people)
    ]


@each_case(
    ("keys", "message"),
    [
        ({"targets": ["web-1", "db-*"]}, ["warning: no target is 'db-*'"]),
        ({"target_roles": ["production", "testing"]}, ["warning: no target has role 'testing'"]),
        ({"target_tags": ["web", "eu"]}, ["warning: no target has tag 'eu'"]),
        ({"target_attributes": {"tier": 1, "cost": 2}}, ["warning: no target has this attribute"]),
        (
            {"target_attributes": {"tier": {"allowed_values": ["1"]}}},
            ["warning: can't be compared with 1 of web-1: 'a' never matches there"],
        ),
        (
            {"target_attributes": {"tier": "1"}, "allowed": False},
            ["warning: can't be compared with 1 of web-1: 'a' denies all in its scope there"],
        ),
        ({"target_attributes": {"tier": {"min": 2}}, "allowed": False}, []),
        ({"users": ["alice", "eve"]}, ["warning: no principal is 'eve'"]),
        ({"users": ["alice", "bobb"]}, ["warning: no principal is 'bobb'; did you mean 'bob'?"]),
        (
            {"user_roles": ["operatr", "operator"]},
            ["warning: no principal has role 'operatr'; did you mean 'operator'?"],
        ),
        ({"user_roles": ["operator", "sre"]}, ["warning: no principal has role 'sre'"]),
        ({"principal_kinds": ["human", "service"]}, ["warning: no principal is 'service'"]),
        (
            {"targets": ["web-1"], "target_tags": ["eu"]},
            ["lint: no target has tag 'eu'"],
        ),
        (
            {"targets": ["web-*"], "target_roles": ["staging"]},
            ["lint: no target of the inventory is one that 'a' is about"],
        ),
        ({"user_roles": ["sre"]}, ["lint: no principal has role 'sre'"]),
        (
            {"users": ["bot", "eve"], "user_roles": ["sre", "ops"]},
            [
                "warning: no principal is 'eve'",
                "lint: no principal has role 'sre'",
                "lint: no principal has role 'ops'",
            ],
        ),
        (
            {"users": ["alice"], "principal_kinds": ["agent"]},
            ["lint: no principal is one that 'a' is about"],
        ),
        ({"target_roles": ["staging"]}, ["lint: no target that 'a' is about has any of its operations"]),
    ],
)
def test_lint_reports_names_that_the_files_lack(keys: dict[str, Any], message: list[str]) -> None:
    assert found({**rule("a", "service_restart"), **keys}) == message


@pytest.mark.parametrize(
    ("keys", "reported"),
    [
        ({}, True),
        ({"user_roles": ["assistant"]}, True),
        ({"principal_kinds": ["human"]}, False),
        ({"user_roles": ["operator"]}, False),
        ({"allowed": False}, False),
        ({"parameter_constraints": {"query": {"type": "string", "allowed_values": ["trace", "security"]}}}, False),
    ],
)
def test_agents_that_may_read_security_events_by_an_open_rule_are_reported(
    keys: dict[str, Any], reported: bool
) -> None:
    warning = "warning: 'a' lets bot read security events, too: constrain `query`, as in docs/policy.md"
    assert found({**rule("a", "audit_read"), **keys}) == [warning] * reported


def test_missing_operation_is_reported_at_its_place_in_the_list() -> None:
    one = rule("a", "service_status", "container_inspect", targets=["web-2"])
    targets = [Target(id="web-2", role="production", backend="local")]
    file = file_of(global_policies=[one])
    (reply,) = lint_with(file, CATALOGUE, targets=targets, principals=PEOPLE)
    assert reply.message == "no target that 'a' is about has container_inspect"
    assert reply.keys == ("policies", "global_policies", 0, "operations", 1)


def test_a_deny_by_an_attribute_that_nothing_has_denies_all_in_its_scope() -> None:
    (reply,) = found(rule("a", "service_restart", allowed=False, target_attributes={"cost": 2}))
    assert reply == "warning: no target has this attribute: denies all in its scope"


def test_a_deny_by_an_attribute_that_some_targets_lack_names_them() -> None:
    bare = structs.replace(TARGETS[0], id="web-2", attributes={})
    deny = rule("a", "service_restart", allowed=False, target_attributes={"tier": 2})
    lacks = ["warning: web-2 lacks this attribute: 'a' denies all in its scope there"]
    assert found(deny, targets=[*TARGETS, bare]) == lacks
    assert found({**deny, "targets": ["web-1"]}, targets=[*TARGETS, bare]) == []
    assert found({**deny, "allowed": True}, targets=[*TARGETS, bare]) == []


def test_lint_reports_operations_that_no_target_in_scope_has() -> None:
    one = rule("a", "container_start", "service_restart", target_roles=["staging"])
    assert found(one) == ["warning: no target that 'a' is about has service_restart"]


def test_gateway_rules_are_about_the_targets_behind_it() -> None:
    one = rule("a", "container_start")
    assert found(role_policies={"gateway": [one]}) == []
    assert found(role_policies={"gateway": [{**one, "inherit": False}]}) == [
        "lint: no target that 'a' is about has any of its operations"
    ]


def test_lint_without_files_reports_no_missing_names() -> None:
    nothing = rule("a", "service_restart", targets=["db-1"], users=["eve"])
    assert found(nothing, people=None, targets=None) == []
    assert [text for text in found(nothing, people=None) if "principal" in text] == []


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"requires_approval": True}, "warning: nobody can give this approval to bob, bot"),
        (
            {"requires_approval": True, "users": ["bob"]},
            "lint: nobody can give this approval: those who could are the requesters, or too few for all steps",
        ),
        (
            {"approval": {"approvers": ["lead"]}},
            "lint: nobody can give this approval: no human has role lead",
        ),
        (
            {"approval": {"approvers": ["aprover"]}},
            "lint: nobody can give this approval: no human has role aprover; did you mean 'approver'?",
        ),
        (
            {"approval": {"approvers": ["approver"], "quorum": 2}},
            "lint: nobody can give this approval: it takes 2, and only bob has role approver",
        ),
        (
            {"users": ["alice"], "approval": {"steps": [{"approvers": ["approver"]}, {"approvers": ["approver"]}]}},
            "lint: nobody can give this approval: those who could are the requesters, or too few for all steps",
        ),
    ],
)
def test_lint_reports_an_approval_that_nobody_can_give(keys: dict[str, Any], message: str) -> None:
    assert found(rule("a", "service_restart", **keys)) == [message]


def test_lint_does_not_report_approvals_that_somebody_can_give() -> None:
    assert found(rule("a", "service_restart", users=["alice"], requires_approval=True)) == []


def test_lint_reports_risk_admin_without_an_approver() -> None:
    assert found(rule("a", "file_delete", users=["bob"])) == [
        "warning: no other human has role approver: operations of risk admin can't be approved for bob"
    ]
    assert found(rule("a", "file_delete", users=["bob"]), require_approval_for_admin=False) == []


def test_service_reports_names_that_the_files_lack_as_warnings() -> None:
    file = file_of(global_policies=[rule("a", "service_restart", users=["eve"])])
    reported = as_warnings(lint_with(file, CATALOGUE, principals=PEOPLE))
    assert {finding.severity for finding in reported} == {Severity.WARNING}
    assert len(reported) == 1


def test_validating_with_files_refuses_what_can_not_be_done_there(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    one = "{name: a, operations: [service_restart], allowed: true, users: [eve]}"
    path.write_text(f"policies: {{global_policies: [{one}]}}")
    assert validate_file(path, CATALOGUE, "strict").valid
    assert not validate_file(path, CATALOGUE, "strict", ValidationContext(principals=PEOPLE)).valid
    assert validate_file(path, CATALOGUE, "permissive", ValidationContext(principals=PEOPLE)).valid
    as_a_service = validate_file(path, CATALOGUE, "strict", ValidationContext(principals=PEOPLE, only_warn=True))
    assert as_a_service.valid
    assert [(reply.problem.line, reply.problem.column) for reply in as_a_service.found] == [(1, 94)]


@pytest.mark.parametrize("name", ["development-flexible", "production-security-focused"])
def test_the_shipped_policies_fit_the_example_files(name: str) -> None:
    file = shapes.convert(yaml_file.read(ROOT / "policies" / f"{name}.yaml"), PolicyDocument)
    targets = read_inventory(ROOT / "policies" / "examples" / "inventory.yaml").targets
    people = read_principals(ROOT / "policies" / "examples" / "principals.yaml").principals
    reported = lint_with(file, CATALOGUE, targets=targets, principals=people)
    assert [finding.message for finding in reported] == []
