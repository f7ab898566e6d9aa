"""Each known mistake of implementations of this format has a test here.

Those about the installation and not about a decision have tests elsewhere: a denial missing in the audit
(tests/executor/test_operation_path.py), simulate and execute that disagree (tests/policy/test_one_path.py), a rollback
without a way back (tests/policy/test_versions.py), a list of allowed requests that disagrees with decisions
(tests/rules/test_brute_force.py), a service that continues without a good file (tests/policy/test_service.py).
"""

import json
from typing import Any

import pytest
from tests.rules.asking import ALICE, CATALOGUE, NOON, World, at, loaded, policy, refused, rule

from writ_contracts.errors import Invalid
from writ_contracts.inventory import Target
from writ_documents.document import FileErrors
from writ_rules.engine.decide import Ruling
from writ_rules.json_lines import reply_line
from writ_rules.setting import AccessQuestion, Setting, setting
from writ_testing.each_case import each_case

RESTARTS = rule("restarts", "service_restart")


def decided(ruling: Ruling) -> tuple[str, str, list[str]]:
    return ruling.effect, ruling.code, ruling.rules


@each_case("mode", ["strict", "permissive"])
@each_case(
    "text",
    [
        "",
        "policies: {",
        "policies: {deny_by_default: maybe}",
        "policies: {global_policies: [{name: a, operations: [service_restart]}]}",
        "policies: {global_policies: [{name: a, allowed: true, operations: [service_dance]}], effective_from: X}",
    ],
)
def test_a_file_that_does_not_load_is_no_policy_at_all(text: str, mode: Any) -> None:
    """It yields nothing that could decide. The service: test_service.py, test_process.py."""
    with pytest.raises(FileErrors):
        loaded(text, mode)


def test_min_and_max_are_kept() -> None:
    limits = {"timeout": {"type": "int", "min": 10, "max": 20}}
    world = World(policy(global_policies=[{**RESTARTS, "parameter_constraints": limits}]))
    assert [world.ask(timeout=seconds).effect for seconds in (9, 10, 20, 21)] == ["deny", "allow", "allow", "deny"]


def test_a_default_reaches_what_runs() -> None:
    limits = {"timeout": {"type": "int", "default": 45, "max": 60}}
    ruling = World(policy(global_policies=[{**RESTARTS, "parameter_constraints": limits}])).ask()
    assert ruling.effective["timeout"] == 45
    assert ruling.timeout == 45


def test_the_callers_value_wins_over_a_default() -> None:
    limits = {"timeout": {"type": "int", "default": 45}}
    ruling = World(policy(global_policies=[{**RESTARTS, "parameter_constraints": limits}])).ask(timeout=30)
    assert ruling.effective["timeout"] == 30


def test_a_typo_is_an_error_with_its_place_and_the_nearest_key() -> None:
    text = """
policies:
  name: typo
  global_policies:
    - name: a
      operations: [service_restart]
      allowed: true
      requires_aproval: true
"""
    assert refused(text) == ["policy.yaml:8:7: unknown key 'requires_aproval'; did you mean 'requires_approval'?"]
    assert refused(text, "permissive") == refused(text)


@pytest.mark.parametrize("order", [1, -1])
def test_a_later_deny_beats_the_first_allow(order: int) -> None:
    rules = [RESTARTS, rule("no", "service_restart", allowed=False)][::order]
    assert decided(World(policy(global_policies=rules)).ask()) == ("deny", "denied", ["no"])


@pytest.mark.parametrize("order", [1, -1])
def test_an_approval_is_not_voided_by_another_allow(order: int) -> None:
    rules = [rule("asks", "service_restart", requires_approval=True), RESTARTS][::order]
    ruling = World(policy(global_policies=rules)).ask()
    assert decided(ruling) == ("require_approval", "approval_required", ["asks", "restarts"])


def test_an_approval_is_not_voided_by_an_open_default() -> None:
    rules = [rule("asks", "service_restart", requires_approval=True)]
    assert World(policy(deny_by_default=False, global_policies=rules)).ask().effect == "require_approval"


def test_an_open_default_lets_through_only_what_no_rule_covers() -> None:
    asks = rule("asks", "service_restart", parameter_constraints={"timeout": {"max": 10}}, requires_approval=True)
    world = World(policy(deny_by_default=False, global_policies=[asks]))
    assert decided(world.ask(timeout=20)) == ("deny", "no_rule", [])
    open_one = world.ask("service_stop")
    assert decided(open_one) == ("allow", "allowed_by_default", [])
    assert "deny_by_default: false" in open_one.reason


def test_emergency_rules_are_inert_outside_an_emergency() -> None:
    world = World(policy(emergency_policies=[RESTARTS]))
    assert decided(world.ask()) == ("deny", "no_rule", [])
    assert world.ask().trace == []


def test_an_emergency_deny_is_inert_too() -> None:
    rules = {"global_policies": [RESTARTS], "emergency_policies": [rule("no", "service_restart", allowed=False)]}
    assert World(policy(**rules)).ask().effect == "allow"


def test_an_emergency_does_not_allow_everything() -> None:
    recovery = rule("recovery", "service_restart", users=["alice"], target_roles=["production"])
    world = World(policy(emergency_policies=[recovery], global_policies=[rule("no", "service_stop", allowed=False)]))
    assert world.ask(emergency=True).effect == "allow"
    assert world.ask("service_start", emergency=True).code == "no_rule"
    assert world.ask("service_stop", emergency=True).code == "denied"
    assert world.ask("file_delete", file_path="/a", emergency=True).code == "no_rule"
    assert world.ask(role="staging", emergency=True).code == "no_rule"
    assert world.ask(who={"id": "bob"}, emergency=True).code == "no_rule"


def test_the_time_zone_of_a_window_counts() -> None:
    window = {"start_time": "08:00", "end_time": "10:00", "timezone": "America/New_York"}
    world = World(policy(global_policies=[{**RESTARTS, "time_restrictions": [window]}]))
    assert world.ask(now="2026-11-24T09:00:00Z").effect == "deny"
    assert world.ask(now="2026-11-24T14:00:00Z").effect == "allow"


def test_monday_to_friday_is_monday_to_friday() -> None:
    window = {"start_time": "00:00", "end_time": "24:00", "days_of_week": [1, 2, 3, 4, 5]}
    world = World(policy(global_policies=[{**RESTARTS, "time_restrictions": [window]}]))
    days = [world.ask(now=f"2026-11-{day}T12:00:00Z").effect for day in range(23, 30)]  # the 23rd is a Monday
    assert days == ["allow"] * 5 + ["deny"] * 2


@pytest.mark.parametrize("sunday", [0, 7])
def test_sunday_has_two_numbers(sunday: int) -> None:
    world = World(policy(global_policies=[{**RESTARTS, "time_restrictions": [{"days_of_week": [sunday]}]}]))
    assert world.ask(now="2026-11-29T12:00:00Z").effect == "allow"
    assert world.ask(now="2026-11-30T12:00:00Z").effect == "deny"


def test_an_overnight_window_keeps_its_morning_and_its_day() -> None:
    window = {"start_time": "22:00", "end_time": "06:00", "days_of_week": [5]}
    world = World(policy(global_policies=[{**RESTARTS, "time_restrictions": [window]}]))
    moments = {"27T21:59": "deny", "27T22:00": "allow", "28T05:59": "allow", "28T06:00": "deny", "28T23:00": "deny"}
    assert {moment: world.ask(now=f"2026-11-{moment}:00Z").effect for moment in moments} == moments


def test_nothing_is_shared_between_targets_parameters_or_dry_and_real_runs() -> None:
    limits = {"service_name": {"allowed_values": ["nginx"]}}
    rules = [rule("one", "service_restart", targets=["web-1"], parameter_constraints=limits)]
    world = World(policy(enable_dry_run=False, global_policies=rules))
    for _ in range(2):  # what is remembered of the first round must not show in the second
        assert world.ask().effect == "allow"
        assert world.ask(target={"id": "web-2"}).effect == "deny"
        assert world.ask(service_name="ssh").effect == "deny"
        assert world.ask(dry_run=True).code == "dry_run_disabled"


def test_nothing_is_shared_between_people_times_approvals_or_emergencies() -> None:
    window = {"start_time": "08:00", "end_time": "18:00"}
    rules = [rule("one", "service_restart", user_roles=["sre"], requires_approval=True, time_restrictions=[window])]
    recovery = [rule("recovery", "service_restart", principal_kinds=["service"])]
    world = World(policy(global_policies=rules, emergency_policies=recovery), people={"approver": ("bob",)})
    for _ in range(2):
        assert world.ask(who={"roles": ["sre"]}).effect == "require_approval"
        assert world.ask(who={"roles": ["operator"]}).effect == "deny"
        assert world.ask(who={"roles": ["sre"]}, now="2026-11-24T19:00:00Z").effect == "deny"
        assert world.ask(who={"roles": ["sre"]}, approvals=("bob",)).effect == "allow"
        assert world.ask(who={"kind": "service"}, emergency=True).effect == "allow"
        assert world.ask(who={"kind": "service"}).effect == "deny"


def test_an_invalid_parameter_changes_the_decision() -> None:
    limits = {"service_name": {"type": "string", "pattern": "^[a-z]+$"}}
    ruling = World(policy(global_policies=[{**RESTARTS, "parameter_constraints": limits}])).ask(service_name="x1")
    assert ruling.effect == "deny"
    assert "service_name.pattern" in ruling.reason


def test_required_is_checked() -> None:
    limits = {"version": {"type": "string", "required": True}}
    rules = [rule("pinned", "package_install", parameter_constraints=limits)]
    world = World(policy(global_policies=rules))
    assert world.ask("package_install", package_name="nginx").effect == "deny"
    assert world.ask("package_install", package_name="nginx", version="1.2").effect == "allow"


def test_the_role_is_the_targets_own() -> None:
    world = World(policy(role_policies={"development": [RESTARTS]}))
    assert world.ask(role="development").effect == "allow"
    assert world.ask(role="production").effect == "deny"


def installation(**sections: Any) -> Setting:
    """A policy among two targets and one person."""
    targets = [Target(id=f"{role}-1", role=role, backend="local", docker={}) for role in ("production", "development")]
    return setting(policy(**sections), CATALOGUE, targets, [ALICE])


REQUEST = {"principal": "alice", "operation": "service_restart", "parameters": {"service_name": "nginx"}, "at": NOON}


@pytest.mark.parametrize("claimed", ["target_role", "role", "environment"])
def test_a_caller_cannot_say_which_role_a_target_has(claimed: str) -> None:
    """Neither beside the parameters nor among them."""
    here = installation(role_policies={"development": [RESTARTS]})
    beside = {**REQUEST, "target": "production-1", claimed: "development"}
    within = {**REQUEST, "target": "production-1", "parameters": {"service_name": "nginx", claimed: "development"}}
    for question in (beside, within):
        reported = json.loads(reply_line(here, json.dumps(question).encode(), now=0))
        assert reported["decision"] == "invalid"
        assert claimed in reported["reason"]


def test_an_unknown_target_is_refused_and_not_judged_as_one_of_development() -> None:
    here = installation(deny_by_default=False, role_policies={"development": [RESTARTS]})
    for unknown in ("web-9", "", "development", "DEVELOPMENT-1"):
        reported = json.loads(reply_line(here, json.dumps({**REQUEST, "target": unknown}).encode(), now=0))
        assert reported["decision"] == "invalid"
        with pytest.raises(Invalid):
            here.decide(AccessQuestion(principal="alice", operation="service_restart", target=unknown, at=at(NOON)))


def test_rules_are_known_by_their_own_names_at_every_load() -> None:
    text = "policies: {global_policies: [{name: a, operations: [service_restart], allowed: true}]}"
    assert [World(loaded(text)).ask().rules for _ in range(2)] == [["a"], ["a"]]


def test_a_pattern_covers_the_whole_string() -> None:
    limits = {"content": {"pattern": "^[a-z]+$"}}
    world = World(policy(global_policies=[rule("words", "file_write", parameter_constraints=limits)]))
    assert world.ask("file_write", file_path="/srv/a", content="nginx").effect == "allow"
    assert world.ask("file_write", file_path="/srv/a", content="nginx\n").effect == "deny"
    assert world.ask("file_write", file_path="/srv/a", content="0nginx0").effect == "deny"


def test_a_newline_does_not_slip_by_a_deny() -> None:
    no_keys = rule("no", "file_write", allowed=False, parameter_constraints={"content": {"pattern": ".*PRIVATE.*"}})
    world = World(policy(global_policies=[rule("yes", "file_write"), no_keys]))
    assert world.ask("file_write", file_path="/srv/a", content="a\nPRIVATE\nb").rules == ["no"]


def test_the_order_of_defaults_and_denies_leaves_no_gap() -> None:
    """A deny sees the default that a rule fills in."""
    fills = rule("fills", "service_restart", parameter_constraints={"timeout": {"default": 200}})
    no_long = rule("no-long", "service_restart", allowed=False, parameter_constraints={"timeout": {"min": 100}})
    assert decided(World(policy(global_policies=[fills, no_long])).ask()) == ("deny", "denied", ["no-long"])


def test_deny_applies_to_a_default_of_a_rule_that_matches_by_another_default() -> None:
    fills = rule("fills", "container_create", parameter_constraints={"timeout": {"default": 200}})
    checks = {"timeout": {"min": 190}, "user": {"default": "root"}}
    no_root = {"user": {"required": True, "allowed_values": ["root"]}}
    denies = rule("no-root", "container_create", allowed=False, parameter_constraints=no_root)
    for more in ({}, {"requires_approval": True}):
        long = rule("long", "container_create", parameter_constraints=checks, **more)
        ruling = World(policy(global_policies=[fills, long, denies])).ask(
            "container_create", container_name="web", image="nginx"
        )
        assert decided(ruling) == ("deny", "denied", ["no-root"])
        assert (ruling.effective["timeout"], ruling.effective["user"]) == (200, "root")


def test_default_of_a_rule_that_matches_by_another_default_must_fit_the_schema() -> None:
    fills = rule("fills", "container_create", parameter_constraints={"timeout": {"default": 200}})
    checks = {"timeout": {"min": 190}, "memory": {"default": "much"}}
    long = rule("long", "container_create", parameter_constraints=checks, requires_approval=True)
    world = World(policy(global_policies=[fills, long]))
    ruling = world.ask("container_create", container_name="web", image="nginx")
    assert decided(ruling) == ("deny", "rule_error", ["fills", "long"])
    assert ruling.effective["timeout"] == 180


def test_default_of_null_fills_in_nothing() -> None:
    fills = rule(
        "fills", "container_create", parameter_constraints={"user": {"default": None}, "timeout": {"max": 200}}
    )
    ruling = World(policy(global_policies=[fills])).ask("container_create", container_name="web", image="nginx")
    assert decided(ruling) == ("allow", "allowed", ["fills"])


def test_two_defaults_that_disagree_deny() -> None:
    rules = [
        rule(name, "service_restart", parameter_constraints={"timeout": {"default": seconds}})
        for name, seconds in (("a", 10), ("b", 20))
    ]
    assert decided(World(policy(global_policies=rules)).ask()) == ("deny", "rule_error", ["a", "b"])
    assert World(policy(global_policies=rules)).ask(timeout=5).effect == "allow"
