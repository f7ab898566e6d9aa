"""Access lists agree with a decision about each request."""

from typing import Any

import pytest
from tests.rules.asking import ALICE, CATALOGUE, NOBODYS_KEY, NOON, at, policy, rule

from writ_contracts.errors import Invalid
from writ_contracts.inventory import WRIT, Principal, Role, Target
from writ_contracts.policy.access import PolicyWhoCanQuery
from writ_rules.analysis.access import Access, AccessQuery, allowed, who_can
from writ_rules.analysis.parameter_values import ValuesByConditions
from writ_rules.analysis.question_space import QuestionSpace
from writ_rules.engine.clauses.patterns import Pattern
from writ_rules.engine.verbs import Verb
from writ_rules.replies import who_can as who_can_reply
from writ_rules.setting import setting
from writ_testing.each_case import each_case

BOB = Principal(id="bob", kind="human", key=NOBODYS_KEY, roles=["approver"])
WEB = Target(id="web-1", role="production", backend="local", docker={})
DEV = Target(id="dev-1", role="development", backend="local", docker={})
DOCKER = Target(id="docker-1", role="production", backend="docker")
SPACE = QuestionSpace(catalogue=CATALOGUE, targets=(WEB, DEV, DOCKER), principals=(ALICE, BOB))
SCENE_WITH_WRIT = QuestionSpace(catalogue=CATALOGUE, targets=(WEB, WRIT), principals=(ALICE, BOB))


def about(*rules: dict[str, Any], moment: str | None = None, **fields: Any) -> list[Access]:
    requested = AccessQuery(
        operations=("service_restart",), around=at(NOON), at=None if moment is None else at(moment), **fields
    )
    return allowed(policy(global_policies=list(rules)), SPACE, requested).accesses


def extents(found: list[Access]) -> dict[tuple[str, str], str]:
    return {(one.targets[0], who): one.allowed for one in found for who in one.principals}


def test_access_lists_each_target_with_the_operation_and_each_principal_once() -> None:
    found = about(rule("restart", "service_restart", user_roles=["operator"], target_roles=["production"]))
    assert extents(found) == {
        ("web-1", "alice"): "always",
        ("web-1", "bob"): "never",
        ("dev-1", "alice"): "never",
        ("dev-1", "bob"): "never",
    }


def test_access_under_conditions_names_them_with_an_example_of_each_side() -> None:
    window = {"start_time": "08:00", "end_time": "18:00", "timezone": "UTC"}
    one = rule(
        "restart",
        "service_restart",
        parameter_constraints={"timeout": {"type": "int", "max": 100}},
        time_restrictions=[window],
    )
    access = about(one, target="web-1", principal="alice")[0]
    assert (access.allowed, access.approval) == ("sometimes", "never")
    (grant,) = access.grants
    assert grant.parameters == ["timeout: int, at most 100"]
    assert grant.windows == "daily 08:00-18:00 UTC"
    assert access.example_allowed is not None
    assert access.example_denied is not None


def test_at_an_instant_the_windows_are_open_or_not() -> None:
    one = rule("restart", "service_restart", time_restrictions=[{"start_time": "08:00", "end_time": "18:00"}])
    assert about(one, moment="2026-11-24T12:00:00Z", principal="alice")[0].allowed == "always"
    assert about(one, moment="2026-11-24T20:00:00Z", principal="alice")[0].allowed == "never"


def test_access_distinguishes_an_approval_from_a_condition() -> None:
    access = about(rule("restart", "service_restart", requires_approval=True), principal="alice")[0]
    assert (access.allowed, access.approval) == ("always", "always")
    assert "role approver" in access.grants[0].approval


def test_a_deny_of_some_values_is_named() -> None:
    deny = rule("no-ssh", "service_restart", allowed=False, parameter_constraints={"service_name": {"pattern": "ssh"}})
    access = about(rule("restart", "service_restart"), deny, principal="alice")[0]
    assert (access.allowed, access.denies) == ("sometimes", ["no-ssh"])
    assert access.example_denied is not None
    assert access.example_denied.parameters["service_name"] == "ssh"


def test_who_can_leaves_out_principals_without_access() -> None:
    made = policy(global_policies=[rule("restart", "service_restart", user_roles=["operator"])])
    found = who_can(made, SPACE, "service_restart", AccessQuery(target="web-1", around=at(NOON)))
    assert [one.principals for one in found.accesses] == [["alice"]]


@pytest.mark.parametrize(
    ("parameters", "condition"),
    [({"service_name": "nginx"}, "service_name: in list_services"), (None, "service_name: in list_services")],
)
def test_access_that_depends_on_a_listing_is_sometimes(parameters: Any, condition: str) -> None:
    listed = {"service_name": {"allowlist_source": "list_services"}}
    rules = [rule("listed", "service_restart", user_roles=["operator"], parameter_constraints=listed)]
    here = setting(policy(global_policies=rules), CATALOGUE, [WEB], [ALICE, BOB])
    query = PolicyWhoCanQuery(operation="service_restart", target="web-1", parameters=parameters)
    (one,) = who_can_reply(here, query, now=at(NOON)).accesses
    assert (one.principals, one.allowed) == (["alice"], "sometimes")
    assert [*one.grants[0].parameters, *one.grants[0].other] == [condition]


def test_exact_parameters_are_judged_at_all_times_from_now_on() -> None:
    window = {"start_time": "08:00", "end_time": "18:00", "timezone": "UTC"}
    by_day = rule("by-day", "service_restart", user_roles=["operator"], time_restrictions=[window])
    always = rule(
        "always", "service_restart", users=["bob"], parameter_constraints={"service_name": {"pattern": "n.*"}}
    )
    here = setting(policy(global_policies=[by_day, always]), CATALOGUE, [WEB], [ALICE, BOB])

    def extents_of(name: str, now: str, moment: str | None = None) -> dict[str, str]:
        instant = None if moment is None else at(moment)
        query = PolicyWhoCanQuery(
            operation="service_restart", target="web-1", parameters={"service_name": name}, at=instant
        )
        answer = who_can_reply(here, query, now=at(now))
        assert answer.since == (at(now) if moment is None else None)
        return {who: one.allowed for one in answer.accesses for who in one.principals}

    for now in (NOON, "2026-11-24T23:00:00Z"):
        assert extents_of("nginx", now) == {"alice": "sometimes", "bob": "always"}
        assert extents_of("ssh", now) == {"alice": "sometimes"}
    assert extents_of("nginx", NOON, "2026-11-24T12:00:00Z") == {"alice": "always", "bob": "always"}
    assert extents_of("nginx", NOON, "2026-11-24T23:00:00Z") == {"bob": "always"}
    with pytest.raises(Invalid, match="colour"):
        who_can_reply(
            here, PolicyWhoCanQuery(operation="service_restart", target="web-1", parameters={"colour": 1}), now=0
        )


def test_exact_parameters_without_a_target_are_judged_on_all_targets() -> None:
    by_name = {"service_name": {"pattern": "n.*"}}
    rules = [
        rule("all", "service_restart", user_roles=["operator"], parameter_constraints=by_name),
        rule("dev", "service_restart", users=["bob"], target_roles=["development"]),
    ]
    here = setting(policy(global_policies=rules), CATALOGUE, [WEB, DEV, DOCKER], [ALICE, BOB])

    def able(name: str, role: Role | None = None) -> set[tuple[str, str]]:
        query = PolicyWhoCanQuery(operation="service_restart", parameters={"service_name": name}, role=role)
        found = who_can_reply(here, query, now=at(NOON)).accesses
        return {(who, target) for one in found for who in one.principals for target in one.targets}

    assert able("nginx") == {("alice", "web-1"), ("alice", "dev-1"), ("bob", "dev-1")}
    assert able("ssh") == {("bob", "dev-1")}
    assert able("nginx", "production") == {("alice", "web-1")}


def test_unknown_name_is_refused() -> None:
    for wrong in ({"target": "web-9"}, {"principal": "eve"}):
        with pytest.raises(Invalid, match=r"web-9|eve"):
            about(**wrong)
    with pytest.raises(Invalid, match="no operation 'service_fly'"):
        who_can(policy(), SPACE, "service_fly", AccessQuery())


BACKENDS = ("local", "docker", "ssh", "proxmox")


@each_case("name", CATALOGUE)
def test_each_operation_has_a_request_whatever_its_fields_must_be_together(name: str) -> None:
    """`give exactly one of …` is in no type: `never` must not be the answer because no example was found."""
    targets = [Target(id=backend, role="production", backend=backend) for backend in BACKENDS]
    made = policy(global_policies=[rule("may", name)], require_approval_for_admin=False)
    question_space = QuestionSpace(catalogue=CATALOGUE, targets=(*targets, WRIT), principals=(ALICE,))
    found = allowed(made, question_space, AccessQuery(operations=(name,), around=at(NOON)))
    assert {access.allowed for access in found.accesses} == {"always"}


@each_case("name", [name for name, one in CATALOGUE.items() if one.control])
def test_an_open_default_allows_no_control_operation(name: str) -> None:
    made = policy(deny_by_default=False, require_approval_for_admin=False)
    found = allowed(made, SCENE_WITH_WRIT, AccessQuery(operations=(name,), around=at(NOON)))
    assert {access.allowed for access in found.accesses} == {"never"}


def test_a_role_that_no_target_has_yet_is_answered_by_the_rules() -> None:
    found = about(rule("restart", "service_restart", target_roles=["staging"]), role="staging", principal="alice")
    assert {(one.role, one.allowed) for one in found} == {("staging", "always")}
    denied = about(rule("restart", "service_restart", target_roles=["production"]), role="staging", principal="alice")
    assert {one.allowed for one in denied} == {"never"}


def test_a_text_is_matched_with_those_of_many_patterns_that_begin_like_it(monkeypatch: pytest.MonkeyPatch) -> None:
    matched = 0
    covers = Pattern.covers

    def counted(pattern: Pattern, value: str) -> bool:
        nonlocal matched
        matched += 1
        return covers(pattern, value)

    monkeypatch.setattr(Pattern, "covers", counted)
    names = [f"app{number}-[a-z]+" for number in range(200)]
    rules = [
        rule(f"rule-{at}", "service_restart", parameter_constraints={"service_name": {"pattern": pattern}})
        for at, pattern in enumerate(names)
    ]
    (alice,) = about(*rules, principal="alice", target="web-1")
    assert (alice.allowed, len(alice.grants)) == ("sometimes", 200)
    assert matched < 250_000  # each text with each pattern were 2,000,000


def test_targets_with_the_same_rules_share_the_requests_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[str]()
    values = ValuesByConditions.values

    def counted(known: ValuesByConditions, verb: Verb, name: str, *rest: Any) -> list[Any]:
        calls.append(name)
        return values(known, verb, name, *rest)

    monkeypatch.setattr(ValuesByConditions, "values", counted)
    one = rule("restart", "service_restart", parameter_constraints={"timeout": {"max": 100}})
    assert len({access.role for access in about(one, principal="alice")}) == 2
    assert calls == ["timeout"]
