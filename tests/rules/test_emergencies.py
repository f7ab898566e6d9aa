"""Emergencies: when one is in force, and the effect of its rules then."""

from typing import Any

from tests.rules.asking import NOON, World, at, control, policy, refused, rule

from writ_documents import yaml_file
from writ_rules.engine.control import ControlState, apply
from writ_rules.engine.policy_file.emergency_terms import EmergencyTerms

DECLARED: dict[str, Any] = {"scope": ["web-*"], "reason": "it burns", "until": 1_000.0}


def test_an_emergency_covers_its_targets_until_its_end() -> None:
    state = apply(ControlState(), 1, control("emergency_declare", DECLARED, id="e-1"))
    found = state.emergency_of("web-1", 999.0)
    assert found is not None
    assert (found.id, found.reason) == ("e-1", "it burns")
    assert state.emergency_of("db-1", 999.0) is None
    assert state.emergency_of("web-1", 1_000.0) is None


def test_an_emergency_is_over_when_somebody_ends_it() -> None:
    state = apply(ControlState(), 1, control("emergency_declare", DECLARED, id="e-1"))
    confirmed = apply(state, 2, control("emergency_confirm", {"emergency_id": "e-1", "verdict": "confirm"}))
    assert confirmed.emergency_of("web-1", 0)
    ended = apply(confirmed, 3, control("emergency_confirm", {"emergency_id": "e-1", "verdict": "end"}))
    assert ended.emergency_of("web-1", 0) is None


def test_emergency_that_lasts_ends_with_a_restore_and_waits_for_its_review() -> None:
    restored = control("journal_restored", {"backup": "b", "last": 1, "ends_access": True})
    state = apply(declared(), 2, restored)
    assert state.emergency_of("web-1", 0) is None
    assert [(one.end(0), one.ended_by) for one in state.emergencies] == [("ended", "restore")]
    again = apply(state, 3, control("emergency_confirm", {"emergency_id": "e-1", "verdict": "confirm"}))
    assert again.emergency_of("web-1", 0) is None
    stopped = apply(ControlState(), 1, control("stop_set", {"scope": ["*"]}))
    assert apply(stopped, 2, restored).stops == stopped.stops


def test_emergency_lasts_after_a_restore_on_record_by_an_earlier_release() -> None:
    state = declared()
    assert apply(state, 2, control("journal_restored", {"backup": "b", "last": 1})).emergencies == state.emergencies


def test_a_declaration_that_cannot_be_read_declares_nothing() -> None:
    for broken in ({**DECLARED, "until": None}, {**DECLARED, "scope": "*"}):
        state = apply(ControlState(), 1, control("emergency_declare", broken))
        assert (state.sequence, state.emergencies, state.stops) == (1, (), ())


def test_a_stop_leaves_emergencies_as_they_are() -> None:
    state = apply(ControlState(), 1, control("emergency_declare", DECLARED, id="e-1"))
    assert apply(state, 2, control("stop_set", {"scope": ["*"]})).emergency_of("web-1", 0)
    assert apply(state, 2, None).emergency_of("web-1", 0)


def written_policy(sections: dict[str, Any]) -> str:
    return yaml_file.dump({"policies": {"name": "test", **sections}})


def declared(**more: Any) -> ControlState:
    body = {**DECLARED, "declared_by": "alice", "confirm_by": 500.0, **more}
    return apply(ControlState(), 1, control("emergency_declare", body, id="e-1"))


def test_an_emergency_that_nobody_else_confirms_in_time_lapses() -> None:
    state = declared()
    assert state.emergency_of("web-1", 499.0)
    assert state.emergency_of("web-1", 500.0) is None
    assert state.emergencies[0].end(500.0) == "lapsed"
    confirmed = apply(state, 2, control("emergency_confirm", {"emergency_id": "e-1", "verdict": "confirm"}))
    assert confirmed.emergency_of("web-1", 999.0)
    assert confirmed.emergencies[0].end(1_000.0) == "expired"
    another = apply(state, 2, control("emergency_confirm", {"emergency_id": "e-2", "verdict": "confirm"}))
    assert another.emergency_of("web-1", 999.0) is None


def test_an_emergency_stays_known_until_its_review_is_signed_off() -> None:
    ended = apply(declared(), 2, control("emergency_confirm", {"emergency_id": "e-1", "verdict": "end"}))
    assert ended.emergency_of("web-1", 0) is None
    assert (ended.emergencies[0].ended_by, ended.emergencies[0].end(0)) == ("alice", "ended")
    closed = apply(ended, 3, control("emergency_closed", {"emergency_id": "e-1", "how": "ended"}))
    assert closed.emergencies[0].closed
    over = apply(closed, 4, control("emergency_review", {"emergency_id": "e-1"}))
    assert (over.emergencies, over.reviewed) == ((), ())


def test_an_emergency_that_is_reviewed_at_once_stays_known_until_its_closing_event() -> None:
    ended = apply(declared(), 2, control("emergency_confirm", {"emergency_id": "e-1", "verdict": "end"}))
    reviewed = apply(ended, 3, control("emergency_review", {"emergency_id": "e-1"}))
    assert reviewed.emergencies == ()
    assert [(one.id, one.end(0)) for one in reviewed.reviewed] == [("e-1", "ended")]
    assert apply(reviewed, 4, control("emergency_closed", {"emergency_id": "e-1", "how": "ended"})).reviewed == ()


def test_a_closing_event_ends_an_emergency_and_no_confirmation_brings_it_back() -> None:
    closed = apply(declared(), 2, control("emergency_closed", {"emergency_id": "e-1", "how": "lapsed"}))
    again = apply(closed, 3, control("emergency_confirm", {"emergency_id": "e-1", "verdict": "confirm"}))
    assert again.emergency_of("web-1", 0) is None


RESTARTS = rule("restarts", "service_restart")
RECOVERY = rule("recovery", "service_restart")
BEHIND = {"gateway": "gw-1"}


def decided(sections: dict[str, Any], *, emergency: bool = True, **request: Any) -> tuple[str, str, list[str]]:
    ruling = World(policy(**sections)).ask(emergency=emergency, **request)
    return ruling.effect, ruling.code, ruling.rules


def test_emergency_rules_allow_inside_and_are_inert_outside() -> None:
    sections = {"emergency_policies": [RECOVERY]}
    assert decided(sections) == ("allow", "allowed", ["recovery"])
    assert decided(sections, emergency=False) == ("deny", "no_rule", [])


def test_emergency_declared_for_the_target_counts() -> None:
    state = apply(ControlState(), 1, control("emergency_declare", {**DECLARED, "until": at(NOON) + 1}, id="e-1"))
    world = World(policy(emergency_policies=[RECOVERY]), control=state)
    ruling = world.ask()
    assert (ruling.effect, ruling.emergency) == ("allow", "e-1")
    assert "in emergency e-1" in ruling.reason
    assert world.ask(target={"id": "db-1"}).code == "no_rule"
    assert world.ask(now="2026-11-24T12:00:01Z").code == "no_rule"
    assert world.ask(emergency=False).code == "no_rule"


def test_emergency_allows_its_own_operations_roles_and_people_alone() -> None:
    sections = {"emergency_policies": [{**RECOVERY, "target_roles": ["production"], "user_roles": ["sre"]}]}
    assert decided(sections, who={"roles": ["sre"]})[0] == "allow"
    assert decided(sections, who={"roles": ["operator"]})[0] == "deny"
    assert decided(sections, who={"roles": ["sre"]}, role="staging")[0] == "deny"
    assert decided(sections, operation="service_stop", who={"roles": ["sre"]})[0] == "deny"


def test_emergency_denies_deny() -> None:
    no = rule("no", "service_restart", allowed=False, emergency_overridable=True)
    sections = {"global_policies": [RESTARTS], "emergency_policies": [no, RECOVERY]}
    assert decided(sections) == ("deny", "denied", ["no"])
    assert decided(sections, emergency=False)[0] == "allow"


def test_emergency_lifts_only_denies_that_permit_it() -> None:
    hard = rule("hard", "service_restart", allowed=False)
    soft = rule("soft", "service_restart", allowed=False, emergency_overridable=True)
    assert decided({"global_policies": [hard, soft], "emergency_policies": [RECOVERY]}) == ("deny", "denied", ["hard"])
    assert decided({"global_policies": [soft], "emergency_policies": [RECOVERY]}) == ("allow", "allowed", ["recovery"])
    assert decided({"global_policies": [soft], "emergency_policies": [RECOVERY]}, emergency=False)[0] == "deny"
    assert decided({"global_policies": [soft, RESTARTS]})[0] == "deny"


def test_emergency_lifts_demands_of_other_rules_and_keeps_its_own() -> None:
    asks = rule("asks", "service_restart", requires_approval=True)
    assert decided({"global_policies": [asks], "emergency_policies": [RECOVERY]}) == (
        "allow",
        "allowed",
        ["recovery"],
    )
    careful = {**RECOVERY, "requires_approval": True}
    assert decided({"global_policies": [RESTARTS], "emergency_policies": [careful]})[0] == "require_approval"


def test_rules_that_an_emergency_sets_aside_are_not_named_as_deciding() -> None:
    asks = rule("asks", "service_restart", requires_approval=True)
    world = World(policy(global_policies=[asks, RESTARTS], emergency_policies=[RECOVERY]))
    ruling = world.ask(emergency=True)
    assert (ruling.rules, ruling.reason) == (["recovery"], "rule 'recovery' allows it in an assumed emergency")
    assert world.ask(emergency=False).rules == ["asks", "restarts"]


def test_emergency_lifts_the_approval_of_risk_admin() -> None:
    sections = {"emergency_policies": [rule("restores", "file_delete")]}
    assert decided(sections, operation="file_delete", file_path="/a") == ("allow", "allowed", ["restores"])
    with_rule = {"global_policies": [rule("deletes", "file_delete")], "emergency_policies": []}
    assert decided(with_rule, operation="file_delete", file_path="/a")[0] == "require_approval"


def test_emergency_lifts_the_gateways_limits_and_not_its_denies() -> None:
    short = rule("short", "service_restart", parameter_constraints={"timeout": {"max": 10}}, requires_approval=True)
    sections = {"role_policies": {"gateway": [short]}, "emergency_policies": [RECOVERY]}
    assert decided(sections, target=BEHIND, timeout=60) == ("allow", "allowed", ["recovery"])
    no = rule("no", "service_restart", allowed=False)
    sections = {"role_policies": {"gateway": [no]}, "emergency_policies": [RECOVERY]}
    assert decided(sections, target=BEHIND) == ("deny", "denied", ["no"])


def test_limits_are_those_of_its_rules_alone() -> None:
    slow = {**RESTARTS, "max_concurrent": 1, "operation_timeout": 5}
    world = World(policy(global_policies=[slow], emergency_policies=[{**RECOVERY, "max_targets": 2}]))
    ruling = world.ask(emergency=True, timeout=60)
    assert ([limit.rule for limit in ruling.limits], ruling.timeout) == (["recovery"], 60)


def test_errors_count_unless_it_could_have_lifted_what_they_hide() -> None:
    unscanned = {"scans": [{"scanner": "trivy"}]}
    no = rule("no", "service_restart", allowed=False, **unscanned)
    assert decided({"global_policies": [no], "emergency_policies": [RECOVERY]})[1] == "rule_error"
    soft = {**no, "emergency_overridable": True}
    assert decided({"global_policies": [soft], "emergency_policies": [RECOVERY]})[0] == "allow"
    maybe = {**RESTARTS, **unscanned}
    assert decided({"global_policies": [maybe], "emergency_policies": [RECOVERY]})[0] == "allow"
    assert (
        decided({"global_policies": [RESTARTS], "emergency_policies": [{**RECOVERY, **unscanned}]})[1] == "rule_error"
    )


def test_a_stop_holds_in_an_emergency_too() -> None:
    state = apply(ControlState(), 1, control("stop_set", {"scope": ["*"], "reason": "wait"}))
    assert World(policy(emergency_policies=[RECOVERY]), control=state).ask(emergency=True).code == "stopped"


def test_an_open_default_is_closed_to_what_its_rules_cover() -> None:
    picky = {**RECOVERY, "parameter_constraints": {"timeout": {"max": 1}}}
    sections = {"deny_by_default": False, "emergency_policies": [picky]}
    assert decided(sections, timeout=9)[1] == "no_rule"
    assert decided(sections, timeout=9, emergency=False)[1] == "allowed_by_default"


def test_the_trace_marks_what_was_set_aside() -> None:
    soft = rule("soft", "service_restart", allowed=False, emergency_overridable=True)
    ruling = World(policy(global_policies=[soft], emergency_policies=[RECOVERY])).ask(emergency=True)
    assert {entry.rule: (entry.section, entry.matched, entry.note) for entry in ruling.trace} == {
        "soft": ("global_policies", True, "set aside by the emergency"),
        "recovery": ("emergency_policies", True, ""),
    }


def test_author_of_an_emergency_needs_approvals_until_another_person_confirmed_it() -> None:
    asks = rule("asks", "service_restart", requires_approval=True)
    later = at(NOON) + 60
    state = declared(until=later, confirm_by=later)
    world = World(policy(global_policies=[asks], emergency_policies=[RECOVERY]), control=state)
    own = world.ask()
    assert (own.effect, own.emergency, own.rules) == ("require_approval", "e-1", ["asks"])
    agent = world.ask(who={"id": "copilot", "kind": "agent", "acts_for": "alice"})
    assert agent.effect == "require_approval"
    second = world.ask(who={"id": "alice-oncall", "person": "alice"})
    assert second.effect == "require_approval"
    assert world.ask(who={"id": "bob"}).effect == "allow"
    confirmed = apply(state, 2, control("emergency_confirm", {"emergency_id": "e-1", "verdict": "confirm"}))
    assert World(world.policy, control=confirmed).ask().effect == "allow"
    alone = declared(until=later, confirm_by=None)
    assert World(world.policy, control=alone).ask().effect == "allow"


def test_terms_of_emergencies_are_durations() -> None:
    assert policy().emergency_terms == EmergencyTerms(8 * 3600, 1800)
    assert policy(emergencies={"longest": "2h", "confirm_within": "10m"}).emergency_terms == EmergencyTerms(7200, 600)
    text = written_policy({"emergencies": {"longest": "ages"}})
    assert refused(text) == ["policy.yaml:4:14: 'ages' is not a duration such as 30m"]
