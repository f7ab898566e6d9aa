"""The targets, operations and rules within reach of a limited principal's lists."""

from datetime import datetime
from random import Random
from typing import Any

from hypothesis import given, settings
from tests.rules import generate
from tests.rules.asking import NOBODYS_KEY, NOON, at, policy, rule
from tests.rules.deciding import CALLERS, TARGETS, compiled, plain, ruling
from tests.rules.test_properties import SEEDS, drawn_questions

from writ_contracts.inventory import Principal, Target
from writ_rules.engine.compile import Policy
from writ_rules.engine.decisions.reach import about, is_limited, reach_of

BOT = Principal(id="bot", kind="agent", roles=["ci"], key=NOBODYS_KEY)
WEB = Target(id="web-1", role="production", backend="local", tags=["web"])


def operations(policy: Policy, target: Target = WEB, who: Principal = BOT, now: str = NOON) -> list[str]:
    return sorted(reach_of(about(policy, who), who, at(now)).operations(target))


def test_reach_is_the_limit_for_agents_unless_the_policy_names_other_kinds() -> None:
    people = [BOT, Principal(id="ann", kind="human", roles=[], key=NOBODYS_KEY)]
    kinds: list[Any] = [None, [], ["human", "service"]]
    found = [[is_limited(policy(list_by_rules=kind), one) for one in people] for kind in kinds]
    assert found == [[True, False], [False, False], [False, True]]


def test_reach_ends_with_the_scope_of_an_allow() -> None:
    some = policy(
        global_policies=[
            rule("own", "service_restart", user_roles=["ci"], target_tags=["web"]),
            rule("others", "service_stop", user_roles=["ops"]),
            rule("elsewhere", "file_read", targets=["db-*"]),
            rule("later", "file_write", effective_from="2027-01-01"),
            rule("old", "network_status", target_attributes={"generation": 1}),
        ]
    )
    assert operations(some) == ["service_restart"]
    assert operations(some, Target(id="db-1", role="production", backend="local")) == ["file_read"]
    assert operations(some, now="2027-02-01T12:00:00Z") == ["file_write", "service_restart"]
    assert operations(some, Target(id="a", role="testing", backend="local", attributes={"generation": 1})) == [
        "network_status"
    ]


def test_reach_has_no_operation_that_a_rule_always_denies() -> None:
    deny = rule("freeze", "service_restart", allowed=False, targets=["web-*"])
    sometimes = {**deny, "parameter_constraints": {"service_name": {"pattern": "ssh.*"}}}
    allow = rule("own", "service_restart")
    assert operations(policy(global_policies=[allow, deny])) == []
    assert operations(policy(global_policies=[allow, sometimes])) == ["service_restart"]


def test_reach_includes_an_emergency_rule_that_lifts_the_deny() -> None:
    deny = rule("freeze", "service_restart", allowed=False, emergency_overridable=True)
    urgent = rule("on-call", "service_restart", user_roles=["ci"])
    assert operations(policy(global_policies=[deny], emergency_policies=[urgent])) == ["service_restart"]


def test_policy_about_a_principal_names_no_rule_of_others() -> None:
    some = policy(
        global_policies=[
            rule("own", "service_restart", user_roles=["ci"]),
            rule("secret-team", "service_stop", "service_restart", user_roles=["ops"], targets=["payroll"]),
        ]
    )
    narrowed = about(some, BOT)
    assert narrowed.rules == 1
    assert narrowed.roles_with("service_stop") == ()
    assert about(narrowed, BOT) is narrowed


@settings(max_examples=60)
@given(seed=SEEDS)
def test_reach_and_narrowed_policy_agree_with_decisions(seed: int) -> None:
    """A request without a denial is within reach, and the narrowed policy decides everything alike."""
    r = Random(seed)
    file = generate.policy(r)
    if (found := compiled(file)) is None:
        return
    for question, facts in drawn_questions(r, file):
        first = ruling(found, question, facts)
        if first is None:
            continue
        who, target = CALLERS[question["principal"]], TARGETS[question["target"]]
        narrowed = about(found, who)
        second = ruling(narrowed, question, facts)
        assert second is not None
        assert plain(first) == plain(second)
        if first.effect != "deny" and not question["own"]:
            reach = reach_of(narrowed, who, datetime.fromisoformat(question["at"]).timestamp())
            assert question["operation"] in reach.operations(target)
