"""Parts of a decision: scope, conditions, gateway, demands, stops, own requests, the trace."""

from typing import Any

import pytest
from tests.rules.asking import ALICE, World, control, loaded, policy, rule

from writ_contracts.inventory import Target
from writ_documents import yaml_file
from writ_rules.engine.control import ControlState, apply

WEB = Target(id="web-1", role="production", backend="local", docker={})
RESTARTS = rule("restarts", "service_restart")


@pytest.mark.parametrize(
    ("keys", "who", "target", "clause"),
    [
        ({"users": ["bob"]}, {}, {}, "users"),
        ({"user_roles": ["admin", "sre"]}, {}, {}, "user_roles"),
        ({"principal_kinds": ["agent"]}, {}, {}, "principal_kinds"),
        ({"targets": ["web-2", "db-*"]}, {}, {}, "targets"),
        ({"target_tags": ["eu"]}, {}, {"tags": ["us"]}, "target_tags"),
        ({"effective_from": "2026-12-01"}, {}, {}, "effective"),
        ({"expires_at": "2026-11-24T12:00:00Z"}, {}, {}, "effective"),
    ],
)
def test_each_part_of_a_scope_narrows_it(keys: Any, who: Any, target: Any, clause: str) -> None:
    ruling = World(policy(global_policies=[{**RESTARTS, **keys}])).ask(who=who, target=target)
    assert ruling.effect == "deny"
    assert ruling.trace[0].clause == clause
    assert clause in ruling.reason


@pytest.mark.parametrize(
    ("keys", "who", "target"),
    [
        ({"users": ["alice"]}, {}, {}),
        ({"user_roles": ["admin", "operator"]}, {}, {}),
        ({"principal_kinds": ["human"]}, {}, {}),
        ({"targets": ["db-1", "web-?"]}, {}, {}),
        ({"target_tags": ["eu", "asia"]}, {}, {"tags": ["eu"]}),
        ({"effective_from": "2026-11-24T12:00:00Z", "expires_at": "2026-11-24T13:00:01+01:00"}, {}, {}),
        ({"target_roles": ["staging", "production"]}, {}, {}),
    ],
)
def test_scope_covers_its_requests(keys: Any, who: Any, target: Any) -> None:
    assert World(policy(global_policies=[{**RESTARTS, **keys}])).ask(who=who, target=target).effect == "allow"


def test_a_rule_that_is_not_enabled_is_as_if_absent() -> None:
    world = World(policy(deny_by_default=False, global_policies=[{**RESTARTS, "allowed": False, "enabled": False}]))
    assert world.ask().code == "allowed_by_default"


def test_a_policy_outside_its_time_denies_everything() -> None:
    for keys in ({"effective_from": "2026-11-25"}, {"expires_at": "2026-11-24"}):
        assert World(policy(global_policies=[RESTARTS], **keys)).ask().code == "policy_inactive"


def test_a_constraint_binds_the_operations_that_have_its_parameter() -> None:
    limits = {"container_name": {"required": True, "max_length": 3}}
    rules = [rule("both", "service_restart", "container_stop", parameter_constraints=limits)]
    world = World(policy(global_policies=rules))
    assert world.ask("service_restart").effect == "allow"
    assert world.ask("container_stop", container_name="abc").effect == "allow"
    assert world.ask("container_stop", container_name="abcd").effect == "deny"


@pytest.mark.parametrize(
    ("constraint", "fits"),
    [
        ({"type": "string"}, {"/a": True}),
        ({"min_length": 3, "max_length": 4}, {"/a": False, "/ab": True, "/abc": True, "/abcd": False}),
        ({"allowed_values": ["/a", None, "/b"]}, {"/a": True, "/b": True, "/c": False}),
        ({"denied_values": ["/a"]}, {"/a": False, "/b": True}),
        ({"pattern": "/a|/b"}, {"/a": True, "/b": True, "/ab": False}),
    ],
)
def test_constraint_has_its_documented_meaning(constraint: Any, fits: dict[str, bool]) -> None:
    limits = {"file_path": constraint}
    world = World(policy(global_policies=[rule("files", "file_read", parameter_constraints=limits)]))
    assert {path: world.ask("file_read", file_path=path).effect == "allow" for path in fits} == fits


def test_true_does_not_equal_the_number_1_in_a_rule() -> None:
    limits = {"force": {"allowed_values": [1]}}
    rules = [rule("forced", "container_delete", parameter_constraints=limits)]
    world = World(policy(require_approval_for_admin=False, global_policies=rules))
    assert world.ask("container_delete", container_name="abc", force=True).effect == "deny"


def test_a_deny_with_conditions_denies_only_where_they_hold() -> None:
    limits = {"service_name": {"allowed_values": ["ssh"]}}
    rules = [RESTARTS, rule("no-ssh", "service_restart", allowed=False, parameter_constraints=limits)]
    world = World(policy(global_policies=rules))
    assert world.ask(service_name="ssh").rules == ["no-ssh"]
    assert world.ask(service_name="nginx").rules == ["restarts"]


def test_a_rule_that_cannot_be_judged_denies_in_its_own_scope() -> None:
    rules = [RESTARTS, rule("limited", "service_restart", user_roles=["operator"], scans=[{"scanner": "trivy"}])]
    world = World(policy(global_policies=rules))
    ruling = world.ask()
    assert (ruling.effect, ruling.code, ruling.rules) == ("deny", "rule_error", ["limited"])
    assert world.ask(who={"roles": ["sre"]}).effect == "allow"


def test_certain_failure_outweighs_an_undecidable_check() -> None:
    limits = {"timeout": {"max": 10}}
    rules = [RESTARTS, rule("limited", "service_restart", scans=[{"scanner": "trivy"}], parameter_constraints=limits)]
    assert World(policy(global_policies=rules)).ask(timeout=11).rules == ["restarts"]


def test_operations_of_risk_admin_need_approval_unless_the_policy_says_otherwise() -> None:
    rules = [rule("deletes", "file_delete")]
    requested = World(policy(global_policies=rules), people={"approver": ("alice", "bob")}).ask(
        "file_delete", file_path="/a"
    )
    assert (requested.effect, requested.rules) == ("require_approval", ["deletes"])
    assert "could approve: bob" in requested.reason
    free = policy(require_approval_for_admin=False, global_policies=rules)
    assert World(free).ask("file_delete", file_path="/a").effect == "allow"


def test_nobody_approves_requests_of_their_own_agent() -> None:
    rules = [rule("asks", "service_restart", approval={"approvers": ["lead"], "quorum": 2, "timeout": "2h"})]
    copilot = {"id": "copilot", "kind": "agent", "acts_for": "alice"}
    ruling = World(policy(global_policies=rules), people={"lead": ("alice",)}).ask(who=copilot)
    assert ruling.effect == "require_approval"
    assert "2 of role lead within 120 min" in ruling.reason
    assert "nobody could approve it" in ruling.reason


@pytest.mark.parametrize(("timeout", "words"), [("20s", "within 20 s"), ("90s", "within 90 s"), ("2m", "within 2 min")])
def test_demand_names_the_time_to_approve_to_the_second(timeout: str, words: str) -> None:
    rules = [rule("asks", "service_restart", approval={"approvers": ["lead"], "timeout": timeout})]
    ruling = World(policy(global_policies=rules), people={"lead": ("bob",)}).ask()
    assert f"one of role lead {words}; could approve: bob" in ruling.reason


def test_the_shortest_time_limit_holds() -> None:
    rules = [{**RESTARTS, "operation_timeout": 100}, rule("b", "service_restart", operation_timeout=50)]
    world = World(policy(global_policies=rules))
    assert world.ask(timeout=200).timeout == 50
    assert world.ask(timeout=20).timeout == 20


BEHIND = {"gateway": "gw-1"}


def test_a_gateways_deny_cascades() -> None:
    rules = {"production": [RESTARTS], "gateway": [rule("no", "service_restart", allowed=False)]}
    world = World(policy(role_policies=rules))
    assert world.ask(target=BEHIND).rules == ["no"]
    assert world.ask().rules == ["restarts"]


def test_a_gateways_allow_grants_nothing_behind_it() -> None:
    world = World(policy(role_policies={"gateway": [RESTARTS]}))
    assert world.ask(target=BEHIND).code == "no_rule"
    assert world.ask(target={"id": "gw-1", "role": "gateway"}).effect == "allow"


def test_a_gateways_limits_and_demands_bind_what_is_behind_it() -> None:
    limits = {"timeout": {"max": 100}}
    gateway = [rule("limits", "service_restart", parameter_constraints=limits, requires_approval=True)]
    world = World(policy(role_policies={"production": [RESTARTS], "gateway": gateway}))
    assert world.ask(target=BEHIND, timeout=200).code == "outside_gateway_limits"
    requested = world.ask(target=BEHIND, timeout=50)
    assert (requested.effect, requested.rules) == ("require_approval", ["limits", "restarts"])
    gateway[0]["requires_approval"] = False
    world = World(policy(role_policies={"production": [RESTARTS], "gateway": gateway}))
    allowed = world.ask(target=BEHIND, timeout=50)
    assert (allowed.reason, allowed.rules) == ("rule 'restarts' allows it", ["limits", "restarts"])


def test_gateway_rule_with_inherit_false_does_not_restrict_targets_behind() -> None:
    gateway = [rule("no", "service_restart", allowed=False, inherit=False)]
    assert (
        World(policy(role_policies={"production": [RESTARTS], "gateway": gateway})).ask(target=BEHIND).effect == "allow"
    )


def test_stop_denies_changes_and_permits_reads_and_control_operations() -> None:
    state = apply(ControlState(), 7, control("stop_set", {"scope": ["web-*"], "reason": "it burns", "until": None}))
    rules = [RESTARTS, rule("reads", "service_status"), rule("stops", "stop_set")]
    world = World(policy(global_policies=rules), control=state)
    assert state.sequence == 7
    stopped = world.ask()
    assert (stopped.effect, stopped.code) == ("deny", "stopped")
    assert "it burns" in stopped.reason
    assert world.ask("service_status").effect == "allow"
    assert world.ask("stop_set", reason="more").effect == "allow"
    assert world.ask(target={"id": "db-1"}).effect == "allow"


def test_stop_ends_at_its_time_or_when_it_is_lifted() -> None:
    until = apply(ControlState(), 1, control("stop_set", {"scope": ["*"], "until": 1_000.0}))
    assert until.stop_of(WEB, ALICE, "service_restart", 999.0)
    assert until.stop_of(WEB, ALICE, "service_restart", 1_000.0) is None
    endless = apply(until, 2, control("stop_set", {"scope": ["*"], "until": None}, id="stop-2"))
    assert endless.stop_of(WEB, ALICE, "service_restart", 2_000.0)
    lifted = apply(endless, 3, control("stop_lift", {"stop_id": "stop-2"}))
    assert (lifted.sequence, lifted.stop_of(WEB, ALICE, "service_restart", 2_000.0)) == (3, None)


def test_a_control_event_that_cannot_be_read_stops_everything() -> None:
    assert apply(ControlState(), 1, None).stop_of(WEB, ALICE, "service_restart", 0)
    assert apply(ControlState(), 1, control("stop_set", {"scope": 7})).stop_of(WEB, ALICE, "service_restart", 0)


def test_a_control_event_counts_once_and_in_order() -> None:
    state = apply(ControlState(), 5, control("policy", {}))
    assert apply(state, 5, None) is state
    assert apply(state, 4, None) is state


def test_own_operations_may_always_be_read_and_cancelled() -> None:
    everything = rule("no", "operation_cancel", "audit_read", allowed=False)
    world = World(policy(global_policies=[everything], expires_at="2000-01-01"))
    assert world.ask("operation_cancel", operation_id="a" * 26, own=True).code == "own"
    assert world.ask("audit_read", query="search", own=True).effect == "allow"
    assert world.ask("audit_read", query="search").effect == "deny"


def test_trace_shows_each_considered_rule_with_both_values() -> None:
    limits = {"timeout": {"max": 100}}
    rules = [
        {**RESTARTS, "parameter_constraints": limits},
        rule("other", "service_stop"),
        rule("no", "service_restart", allowed=False, users=["bob"]),
    ]
    ruling = World(policy(global_policies=rules)).ask(timeout=200)
    reported = [(entry.rule, entry.matched, entry.clause, entry.expected, entry.got) for entry in ruling.trace]
    assert reported == [
        ("no", False, "users", "bob", "alice"),
        ("restarts", False, "timeout.max", "at most 100", "200"),
    ]
    assert "nearest is 'restarts': timeout.max is 200, expected at most 100" in ruling.reason


def test_a_secret_shows_in_no_trace_and_no_reason() -> None:
    limits = {"content": {"allowed_values": ["swordfish"]}}
    world = World(policy(global_policies=[rule("writes", "file_write", parameter_constraints=limits)]))
    ruling = world.ask("file_write", file_path="/srv/a", content="hunter2")
    assert ruling.effect == "deny"
    shown = str(ruling.trace) + ruling.reason
    assert "‹secret›" in shown
    assert "hunter2" not in shown
    assert "swordfish" not in shown


def test_a_denial_says_when_the_window_opens() -> None:
    window = {"start_time": "22:00", "end_time": "06:00", "days_of_week": [5], "timezone": "Europe/Berlin"}
    ruling = World(policy(global_policies=[{**RESTARTS, "time_restrictions": [window]}])).ask()
    assert "opens Fri 2026-11-27 22:00 Europe/Berlin" in ruling.reason


def test_a_denial_says_where_it_would_be_allowed() -> None:
    ruling = World(policy(role_policies={"staging": [RESTARTS]})).ask()
    assert ruling.reason == "no rule allows service_restart on a production target; rules allow it on staging"


def test_trace_shows_a_gateways_allow_as_a_restriction() -> None:
    world = World(policy(role_policies={"gateway": [rule("gg", "service_restart")]}))
    ruling = world.ask(target=BEHIND)
    assert ruling.reason == (
        "no rule allows service_restart on a production target; rules allow it on gateway"
        "; rule 'gg' of its gateway only restricts what others allow"
    )
    (entry,) = ruling.trace
    assert (entry.matched, entry.note) == (True, "restricts what other rules allow")
    assert world.ask(role="gateway").trace[0].note == ""


def test_an_open_default_never_reaches_control_operations() -> None:
    """Otherwise an agent could give itself any role."""
    opened = World(policy(deny_by_default=False, require_approval_for_admin=False))
    wish: dict[str, Any] = {"action": "set_roles", "principal_id": "copilot", "roles": ["admin", "approver"]}
    ruling = opened.ask("principal_manage", **wish)
    assert (ruling.effect, ruling.code) == ("deny", "no_rule")
    assert opened.ask().code == "allowed_by_default"


def test_a_default_that_breaks_the_schema_denies_without_limits_or_demands() -> None:
    """Found by the reference evaluator, by a value that was no number of seconds at all."""
    limits = {"timeout": {"default": ""}, "service_name": {"default": "x"}}
    keys = {"operation_timeout": 30, "max_concurrent": 1, "requires_approval": True}
    text = yaml_file.dump({"policies": {"global_policies": [{**RESTARTS, **keys, "parameter_constraints": limits}]}})
    ruling = World(loaded(text, "permissive")).ask()
    assert (ruling.effect, ruling.code, ruling.rules) == ("deny", "rule_error", ["restarts"])
    assert (ruling.limits, ruling.demands, ruling.effective["timeout"]) == ([], [], 60)


def test_request_in_the_first_or_last_year_is_decided() -> None:
    """Calendars end there, and so did decisions."""
    window = {"start_time": "23:00", "end_time": "01:00", "timezone": "Pacific/Kiritimati", "from": "9999-12-31"}
    world = World(policy(global_policies=[{**RESTARTS, "time_restrictions": [window]}]))
    for moment in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        assert world.ask(now=moment).code == "no_rule"
