"""Further parts of a decision: nearest miss, next opening, possible approvers, errors."""

from datetime import datetime
from zoneinfo import ZoneInfo

from tests.rules.asking import World, policy, rule

RESTARTS = rule("restarts", "service_restart")


def test_nearest_miss_is_the_allow_rule_with_the_latest_failing_clause() -> None:
    rules = [
        {**RESTARTS, "name": "a", "users": ["bob"]},
        {**RESTARTS, "name": "b", "target_tags": ["eu"]},
        {**RESTARTS, "name": "c", "parameter_constraints": {"timeout": {"max": 10}}},
        {**RESTARTS, "name": "d", "allowed": False, "parameter_constraints": {"service_name": {"pattern": "x"}}},
    ]
    nearest = World(policy(global_policies=rules)).ask(timeout=60).nearest
    assert nearest is not None
    assert (nearest.rule, nearest.clause, nearest.expected, nearest.got) == ("c", "timeout.max", "at most 10", "60")
    assert World(policy(global_policies=rules[:2])).ask().nearest.rule == "b"  # type: ignore[union-attr]
    assert World(policy(global_policies=rules[:1])).ask().nearest.rule == "a"  # type: ignore[union-attr]


def test_a_denial_by_a_rule_has_no_nearest_miss() -> None:
    ruling = World(policy(global_policies=[RESTARTS, {**RESTARTS, "name": "no", "allowed": False}])).ask()
    assert (ruling.nearest, ruling.opens_at) == (None, None)


def test_trace_names_when_the_nearest_window_opens() -> None:
    window = {"start_time": "22:00", "end_time": "06:00", "days_of_week": [5], "timezone": "Europe/Berlin"}
    ruling = World(policy(global_policies=[{**RESTARTS, "time_restrictions": [window]}])).ask()
    assert ruling.opens_at == datetime(2026, 11, 27, 22, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()


def test_trace_names_no_opening_if_another_clause_fails() -> None:
    window = {"start_time": "11:00", "end_time": "13:00"}
    limits = {"timeout": {"max": 10}}
    rules = [{**RESTARTS, "time_restrictions": [window], "parameter_constraints": limits}]
    assert World(policy(global_policies=rules)).ask(timeout=60).opens_at is None


def test_trace_names_the_nearest_miss_of_the_gateway() -> None:
    short = rule("short", "service_restart", parameter_constraints={"timeout": {"max": 10}})
    world = World(policy(global_policies=[RESTARTS], role_policies={"gateway": [short]}))
    ruling = world.ask(target={"gateway": "gw-1"}, timeout=60)
    assert ruling.code == "outside_gateway_limits"
    assert ruling.nearest is not None
    assert (ruling.nearest.rule, ruling.nearest.section) == ("short", "role_policies.gateway, inherited")


def test_trace_names_a_bounded_number_of_next_approvers() -> None:
    many = tuple(f"p{number:03}" for number in range(50))
    asks = rule("asks", "service_restart", approval={"approvers": ["lead"], "quorum": 2})
    world = World(policy(global_policies=[asks]), people={"lead": ("alice", *many)})
    assert world.ask().could_approve == list(many[:20])
    assert world.ask(approvals=("p000",)).could_approve == list(many[1:21])
    assert world.ask(approvals=("p000", "p001")).could_approve == []


def test_error_is_marked_and_its_clause_named() -> None:
    rules = [{**RESTARTS, "scans": [{"scanner": "trivy"}]}, {**RESTARTS, "name": "plain"}]
    trace = {entry.rule: entry for entry in World(policy(global_policies=rules)).ask().trace}
    assert (trace["restarts"].matched, trace["restarts"].erred, trace["restarts"].clause) == (
        False,
        True,
        "scans.trivy",
    )
    assert (trace["plain"].matched, trace["plain"].erred) == (True, False)


def test_trace_names_each_of_several_equal_rules() -> None:
    limits = {"timeout": {"max": 10}}
    rules = [{**RESTARTS, "name": name, "parameter_constraints": limits} for name in ("b", "a", "c")]
    trace = World(policy(global_policies=rules)).ask(timeout=60).trace
    assert [(entry.rule, entry.clause, entry.got) for entry in trace] == [
        (name, "timeout.max", "60") for name in ("a", "b", "c")
    ]


def test_defaults_of_rules_that_match_apart_are_decided_with_the_demands_of_both() -> None:
    fills = rule("fills", "service_restart", parameter_constraints={"timeout": {"default": 200}}, max_concurrent=3)
    long = rule(
        "long", "service_restart", parameter_constraints={"timeout": {"min": 100}}, max_targets=1, operation_timeout=150
    )
    ruling = World(policy(global_policies=[fills, long])).ask()
    assert (ruling.effect, ruling.rules, ruling.timeout) == ("allow", ["fills"], 150)
    assert {limit.rule for limit in ruling.limits} == {"fills", "long"}
