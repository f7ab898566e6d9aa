"""Approvals: steps in order, a quorum of different people for each, never the requester."""

from typing import Any

from tests.rules.asking import World, policy, rule

from writ_rules.engine.rules.obligations import ApproverStep

PEOPLE = {"lead": ("ann", "ben", "alice"), "security": ("sam", "ann"), "approver": ("pat",)}
STEPS = {"steps": [{"approvers": ["lead"], "quorum": 2}, {"approvers": ["security"]}], "timeout": "2h"}


def world(*rules: dict[str, Any], **keys: Any) -> World:
    return World(policy(global_policies=[*rules], **keys), people=PEOPLE)


ASKS = rule("asks", "service_restart", approval=STEPS)


def test_demand_names_its_steps_in_order() -> None:
    demand = world(ASKS).ask().demands[0]
    assert demand.steps == (ApproverStep(("lead",), 2), ApproverStep(("security",), 1))
    assert demand.seconds == 7200


def test_enough_people_for_each_step_make_it_an_allow() -> None:
    ruling = world(ASKS).ask(approvals=("ann", "ben", "sam"))
    assert (ruling.effect, ruling.code, ruling.rules) == ("allow", "approved", ["asks"])


def test_approval_counts_for_the_step_that_is_open() -> None:
    assert world(ASKS).ask(approvals=("sam", "ann", "ben")).effect == "require_approval"
    assert world(ASKS).ask(approvals=("sam", "ann", "ben", "sam")).effect == "allow"


def test_person_counts_once_for_a_quorum() -> None:
    assert world(ASKS).ask(approvals=("ann", "ann", "sam")).effect == "require_approval"
    assert world(ASKS).ask(approvals=("ann", "ben", "ann")).effect == "require_approval"


def test_requester_never_counts_as_an_approver() -> None:
    assert world(ASKS).ask(approvals=("alice", "ben", "sam")).effect == "require_approval"


def test_human_of_a_requesting_agent_never_counts_as_an_approver() -> None:
    copilot = {"id": "copilot", "kind": "agent", "acts_for": "ann"}
    assert world(ASKS).ask(who=copilot, approvals=("ann", "ben", "sam")).effect == "require_approval"
    assert world(ASKS).ask(who=copilot, approvals=("alice", "ben", "sam")).effect == "allow"


def test_approver_without_the_role_does_not_count() -> None:
    assert world(ASKS).ask(approvals=("pat", "ben", "sam")).effect == "require_approval"


def test_all_demands_must_be_met() -> None:
    both = world(ASKS, rule("too", "service_restart", requires_approval=True))
    assert both.ask(approvals=("ann", "ben", "sam")).effect == "require_approval"
    assert both.ask(approvals=("ann", "ben", "sam", "pat")).effect == "allow"


def test_one_approval_counts_for_every_demand_that_it_fits() -> None:
    other = rule("too", "service_restart", approval={"approvers": ["security"]})
    assert world(ASKS, other).ask(approvals=("ann", "ben", "sam")).effect == "allow"


def test_demand_of_risk_admin_can_be_met() -> None:
    deletes = world(rule("deletes", "file_delete"))
    assert deletes.ask("file_delete", file_path="/a").effect == "require_approval"
    assert deletes.ask("file_delete", file_path="/a", approvals=("pat",)).code == "approved"


def test_approvers_beside_steps_are_a_step_before_them() -> None:
    asks = rule("asks", "service_restart", approval={"approvers": ["approver"], "steps": [{"approvers": ["lead"]}]})
    assert world(asks).ask().demands[0].steps == (ApproverStep(("approver",), 1), ApproverStep(("lead",), 1))


def test_approval_without_roles_demands_one_approver_within_an_hour() -> None:
    demand = world(rule("asks", "service_restart", requires_approval=True)).ask().demands[0]
    assert (demand.steps, demand.seconds) == ((ApproverStep(("approver",), 1),), 3600)


def test_approval_timeout_is_in_minutes() -> None:
    asks = rule("asks", "service_restart", requires_approval=True, approval_timeout=5)
    assert world(asks).ask().demands[0].seconds == 300


def test_decision_names_the_next_approvers() -> None:
    assert "could approve: ann, ben" in world(ASKS).ask().reason
    assert "could approve: sam" in world(ASKS).ask(approvals=("ann", "ben")).reason


def test_decision_names_the_approvers_who_counted() -> None:
    reason = world(ASKS).ask(approvals=("alice", "zed", "ann", "ann", "ben", "sam")).reason
    assert reason.endswith("approved by ann, ben, sam")


def test_demand_for_too_few_people_names_no_approver() -> None:
    asks = rule("asks", "service_restart", approval={"approvers": ["security"], "quorum": 3})
    assert "nobody could approve it" in world(asks).ask().reason
