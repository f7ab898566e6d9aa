"""A stop holds up exactly the requests that match all its names."""

from typing import Any

from tests.rules.asking import World, control, policy, rule

from writ_contracts.policy.stops import Reach
from writ_rules.engine.control import ControlState, apply
from writ_testing.each_case import each_case

RULES = policy(global_policies=[rule("all", "service_restart", "service_status", "service_stop", "file_delete")])


def held(body: dict[str, Any], operation: str = "service_restart", **question: Any) -> bool:
    state = apply(ControlState(), 1, control("stop_set", {"scope": ["*"], "reason": "wait", **body}))
    return World(RULES, control=state).ask(operation, **question).code == "stopped"


@each_case(
    ("body", "question", "expected"),
    [
        ({}, {}, True),
        ({"scope": ["web-*"]}, {}, True),
        ({"scope": ["db-?"]}, {}, False),
        ({"roles": ["production"]}, {}, True),
        ({"roles": ["production"]}, {"role": "staging"}, False),
        ({"operations": ["service_restart"]}, {}, True),
        ({"operations": ["service_stop"]}, {}, False),
        ({"principals": ["alice"]}, {}, True),
        ({"principals": ["bob"]}, {}, False),
        ({"principals": ["alice"]}, {"who": {"id": "copilot", "kind": "agent", "acts_for": "alice"}}, True),
        ({"principals": ["copilot"]}, {"who": {"id": "alice"}}, False),
        ({"principals": ["alice"]}, {"who": {"id": "alice-oncall", "person": "alice"}}, True),
        ({"roles": ["production"], "operations": ["service_stop"]}, {}, False),
        ({"roles": ["staging", "production"], "scope": ["web-1"], "principals": ["alice"]}, {}, True),
    ],
)
def test_stop_blocks_operations_that_match_all_of_its_parts(
    body: dict[str, Any], question: dict[str, Any], expected: bool
) -> None:
    assert held(body, **question) is expected


def test_a_stop_never_cuts_reads_nor_control_operations() -> None:
    assert not held({}, "service_status")
    for operation, parameters in (
        ("stop_lift", {"stop_id": "s"}),
        ("audit_read", {"query": "policy"}),
        ("operation_cancel", {"operation_id": "a" * 26}),
    ):
        assert not held({}, operation, **parameters)


def test_a_stop_of_a_role_holds_up_a_target_whose_role_is_not_known() -> None:
    assert Reach(roles=["production"]).covers("gone", None, ["alice"], "service_stop")
