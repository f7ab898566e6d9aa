"""Mistakes of a policy by itself. Findings of lint are certain, so brute force must confirm them."""

from typing import Any

import pytest
from tests.rules.asking import CATALOGUE, file_of, rule

from writ_rules.engine.compile import compile_policy
from writ_rules.engine.policy_file.findings import Severity
from writ_rules.engine.policy_file.groups import placed
from writ_rules.engine.verbs import verbs
from writ_rules.lint.conflicts import _meet, conflicts
from writ_rules.lint.policy_lint import lint
from writ_rules.lint.rule_reading import readings
from writ_rules.loading import findings_of
from writ_testing.each_case import each_case

RESTART = rule("restart", "service_restart", "service_start")
WINDOW = {"start_time": "08:00", "end_time": "18:00", "days_of_week": [1, 2, 3, 4, 5]}


def found(*rules: dict[str, Any], **sections: Any) -> list[str]:
    """Return lint's findings with their severity."""
    file = file_of(global_policies=list(rules), **sections)
    policy, known = compile_policy(file, CATALOGUE)
    assert policy is not None, known
    return [f"{finding.severity}: {finding.message}" for finding in lint(file, CATALOGUE, known)]


def name(**keys: Any) -> dict[str, Any]:
    return {"parameter_constraints": {"service_name": keys}}


def timeout(**keys: Any) -> dict[str, Any]:
    return {"parameter_constraints": {"timeout": keys}}


@each_case(
    ("keys", "message"),
    [
        (name(allowed_values=["nginx"], denied_values=["nginx"]), "none of its values is one that the operation takes"),
        (name(allowed_values=["nginx"], pattern="db-.*"), "none of its values is one that the operation takes"),
        (name(allowed_values=["reboot.target"]), "none of its values is one that the operation takes"),
        (timeout(min=1000), "no number is at least 1000 and at most 300"),
        (timeout(min=1.2, max=1.8), "no number is at least 1.2 and at most 1.8"),
        (name(min_length=300), "nothing is at least 300 and at most 255 long"),
        ({"effective_from": "2026-02-01", "expires_at": "2026-01-01"}, "expires before it takes effect"),
        ({"time_restrictions": [{"from": "2026-02-01", "until": "2026-01-01"}]}, "is before its first"),
        (
            {"time_restrictions": [{"from": "2026-11-24", "until": "2026-11-25", "days_of_week": [6]}]},
            "none of its days of the week is between",
        ),
        (
            {
                "time_restrictions": [
                    {
                        "from": "2026-03-29",
                        "until": "2026-03-29",
                        "start_time": "02:00",
                        "end_time": "03:00",
                        "timezone": "Europe/Berlin",
                    }
                ]
            },
            "clocks are set forward over it",
        ),
    ],
)
def test_a_rule_that_can_never_match_is_vacuous(keys: dict[str, Any], message: str) -> None:
    one = rule("restart", "service_restart", **keys)
    assert [text for text in found(one) if message in text and text.startswith("lint: vacuous: 'restart'")]


def test_control_operations_are_on_writ_alone() -> None:
    stop = rule("stop", "stop_set", target_roles=["production"])
    assert found(stop) == [
        (
            "lint: vacuous: 'stop' never matches, "
            "for stop_set acts on target 'writ', of role gateway, which the rule leaves out"
        )
    ]
    tagged = rule("stop", "stop_set", "service_stop", target_tags=["web"])
    assert found(tagged) == [
        "warning: 'stop' never matches some operations: stop_set acts on target 'writ', which has no tags"
    ]


def test_a_part_that_never_matches_is_a_warning() -> None:
    gone = {"from": "2026-02-01", "until": "2026-01-01"}
    assert found(rule("a", "service_stop", time_restrictions=[gone, WINDOW])) == [
        "warning: the window never opens: its last day, 2026-01-01, is before its first, 2026-02-01"
    ]
    both = rule("a", "service_status", "service_restart", **timeout(min=100))
    assert found(both) == ["warning: 'a' never matches service_status: no number is at least 100 and at most 60"]


WIDER: list[dict[str, Any]] = [
    {},
    {"user_roles": ["operator", "sre"]},
    {"users": ["alice", "bob"]},
    {"principal_kinds": ["human", "service"]},
    {"targets": ["web-*"]},
    {"target_tags": ["web", "eu"]},
    {"target_roles": ["production", "staging"]},
    {"effective_from": "2026-01-01"},
    {"time_restrictions": [{**WINDOW, "days_of_week": [0, 1, 2, 3, 4, 5]}]},
    timeout(max=200, min=1),
    name(pattern="[a-z]+", denied_values=["postgres"]),
    name(allowed_values=["nginx", "ssh"]),
]
NARROWER: list[dict[str, Any]] = [
    {"user_roles": ["operator"]},
    {"user_roles": ["operator"]},
    {"users": ["alice"]},
    {"principal_kinds": ["human"]},
    {"targets": ["web-1", "web-eu-*"]},
    {"target_tags": ["web"]},
    {"target_roles": ["production"]},
    {"effective_from": "2026-02-01", "expires_at": "2026-03-01"},
    {"time_restrictions": [{**WINDOW, "start_time": "09:00"}]},
    timeout(max=100),
    name(pattern="[a-z]+", denied_values=["postgres", "ssh"]),
    name(allowed_values=["nginx"]),
]


def test_an_inherited_allow_shadows_none_that_counts_behind_a_gateway() -> None:
    """Behind a gateway it grants nothing."""
    narrow = rule("narrow", "service_restart", target_roles=["production"])
    wide = rule("wide", "service_restart")
    assert found(narrow, role_policies={"gateway": [wide]}) == []
    shadowed = ["warning: shadowed: 'wide' allows all that 'narrow' allows"]
    assert found({**narrow, "target_roles": ["gateway"]}, role_policies={"gateway": [wide]}) == shadowed


def test_operations_of_an_allow_rule_that_a_deny_rule_always_denies_are_named() -> None:
    allow = rule("allow", "service_status", "service_restart", "service_stop", user_roles=["web"])
    deny = rule("deny", "service_restart", "service_stop", allowed=False)
    message = "warning: partly overridden: 'deny' denies all of service_restart, service_stop that 'allow' allows"
    assert found(allow, deny) == found(deny, allow) == [message]
    assert found(allow, {**deny, "users": ["alice"]}) == [], "others may"
    assert found(allow, {**deny, "emergency_overridable": True}) == [], "an emergency sets it aside"
    assert lint(file_of(global_policies=[allow, deny]), CATALOGUE)[0].keys[-2:] == ("operations", 1)
    (finding,) = lint(file_of(global_policies=[allow, deny]), CATALOGUE, most_compared=8)
    assert finding.message == "from 'allow' on, operations were not compared one by one: there are too many"


@each_case(("wide", "narrow"), list(zip(WIDER, NARROWER, strict=True)))
def test_a_rule_that_another_covers_is_shadowed_redundant_or_overridden(
    wide: dict[str, Any], narrow: dict[str, Any]
) -> None:
    def covering(**allowed: bool) -> list[str]:
        one = rule("narrow", "service_restart", allowed=allowed["narrow"], **narrow)
        other = rule("wide", "service_restart", "service_start", allowed=allowed["wide"], **wide)
        assert found(one, other) == found(other, one)
        return found(one, other)

    assert covering(narrow=True, wide=True) == ["warning: shadowed: 'wide' allows all that 'narrow' allows"]
    assert covering(narrow=False, wide=False) == ["warning: redundant: 'wide' denies all that 'narrow' denies"]
    assert covering(narrow=True, wide=False) == ["lint: overridden: 'wide' denies all that 'narrow' allows"]
    assert covering(narrow=False, wide=True) == []


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        ({"requires_approval": True}, {}),
        ({"operation_timeout": 10}, {"operation_timeout": 20}),
        ({"max_concurrent": 1}, {}),
        (timeout(default=20), {}),
        (name(pattern="a+"), name(pattern="[a]+")),
        ({}, name(required=True, pattern="a")),
        (timeout(), timeout(max=100)),
        ({"users": ["alice"]}, {"user_roles": ["operator"]}),
        ({"time_restrictions": [WINDOW]}, {"time_restrictions": [{**WINDOW, "timezone": "Europe/Berlin"}]}),
    ],
)
def test_a_rule_that_adds_something_is_left_alone(narrow: dict[str, Any], wide: dict[str, Any]) -> None:
    one, other = (
        rule("narrow", "service_restart", user_roles=["sre"], **narrow),
        rule("wide", "service_restart", **wide),
    )
    assert found(one, other) == []


def test_the_later_of_two_that_say_the_same_is_redundant() -> None:
    assert found({**RESTART, "name": "a"}, {**RESTART, "name": "b", "description": "again"}) == [
        "warning: redundant: 'b' says what 'a' says"
    ]


def test_a_deny_that_an_emergency_sets_aside_overrides_nothing() -> None:
    deny = rule("freeze", "service_restart", allowed=False, emergency_overridable=True)
    allow = rule("recover", "service_restart")
    declare = rule("declare", "emergency_declare")
    assert found(deny, declare, emergency_policies=[allow]) == []
    assert found({**deny, "emergency_overridable": False}, declare, emergency_policies=[allow]) == [
        "lint: overridden: 'freeze' denies all that 'recover' allows"
    ]


def test_lint_reports_emergency_rules_that_nobody_can_use() -> None:
    assert found(emergency_policies=[RESTART]) == [
        "warning: no rule allows emergency_declare: these rules are never used"
    ]


def test_a_rule_of_the_gateway_that_cascades_is_not_covered_by_one_that_does_not() -> None:
    narrow, wide = rule("narrow", "service_restart", user_roles=["sre"]), rule("wide", "service_restart", inherit=False)
    assert found(role_policies={"gateway": [narrow, wide]}) == []
    assert found(role_policies={"gateway": [{**narrow, "inherit": False}, wide]}) == [
        "warning: shadowed: 'wide' allows all that 'narrow' allows"
    ]


def test_lint_reports_rules_with_conflicting_defaults() -> None:
    one, other = (
        rule("one", "service_restart", **timeout(default=20)),
        rule("other", "service_restart", **timeout(default=30)),
    )
    (reply,) = found(one, other)
    assert reply == "lint: 'one' has another default for service_restart.timeout: what both allow is denied"
    for key, values in (
        ("users", (["alice"], ["bob"])),
        ("target_roles", (["staging"], ["production"])),
        ("time_restrictions", ([WINDOW], [{**WINDOW, "start_time": "18:00", "end_time": "08:00"}])),
        ("targets", (["web-*"], ["db-*", "mail-?"])),
        ("scans", ([{"scanner": "trivy", "severity": "high"}], [{"scanner": "trivy", "present": False}])),
    ):
        assert found({**one, key: values[0]}, {**other, key: values[1]}) == []
    for key, values in (
        ("targets", (["web-*"], ["db-1", "*-eu"])),
        ("scans", ([{"scanner": "trivy"}], [{"scanner": "trivy", "severity": "high", "present": False}])),
    ):
        assert found({**one, key: values[0]}, {**other, key: values[1]}) == [reply]


def test_lint_reports_too_many_rules_to_compare() -> None:
    file = file_of(global_policies=[rule(f"r{at}", "service_stop", users=[f"u{at}"]) for at in range(20)])
    (reply,) = lint(file, CATALOGUE, most_compared=100)
    assert reply.message == "from 'r5' on, rules were not compared with each other: there are too many"


def test_lint_reports_too_many_defaults_to_compare() -> None:
    file = file_of(
        global_policies=[
            rule(f"r{at}", "service_stop", users=[f"u{at}"], **timeout(default=at + 1)) for at in range(20)
        ]
    )
    known = verbs(CATALOGUE)
    rules = readings(placed(file.policies), known)
    assert list(conflicts(rules, known)) == []
    (reply,) = conflicts(rules, known, 30)
    assert reply.message == "from 'r1' on, defaults were not compared with each other: there are too many"


@each_case(
    ("one", "other", "meet"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a*", "*b", True),
        ("a*c", "ab", False),
        ("a?c", "*bc", True),
        ("?", "", False),
        ("*", "", True),
        ("**", "?*?", True),
        ("a*b*c", "ac", False),
        ("*web*", "db-?", False),
        ("x" * 60 + "*" * 60, "?" * 60 + "*y" * 30, True),
    ],
)
def test_two_globs_meet_where_an_id_is_covered_by_both(one: str, other: str, meet: bool) -> None:
    assert _meet(one, other) is _meet(other, one) is meet


def test_lint_reports_a_rule_once() -> None:
    file = file_of(global_policies=[rule("a", "service_stop", **timeout(min=5, max=2))])
    policy, findings = findings_of(file, CATALOGUE)
    assert policy is not None
    assert [finding.message for finding in findings] == ["min 5 is above max 2: the rule never matches"]
    assert findings[0].severity is Severity.LINT


def test_lint_reports_a_policy_that_expires_before_it_takes_effect() -> None:
    reply = ["lint: the policy expires before it takes effect: everything is denied"]
    assert found(RESTART, effective_from="2026-02-01", expires_at="2026-01-01") == reply
    assert found(RESTART, effective_from="2026-02-01", expires_at="2026-02-01") == reply
    assert found(RESTART, effective_from="2026-01-01", expires_at="2026-02-01") == []


@pytest.mark.parametrize("key", [{"days_of_week": [1]}, {"day_of_month": 4}])
@pytest.mark.parametrize("named", [True, False])
def test_lint_reports_days_of_a_maintenance_window_that_comes_once(key: dict[str, Any], *, named: bool) -> None:
    def finding_texts(**keys: Any) -> list[tuple[str, str]]:
        window = {"start_time": "2026-01-04T02:00", "end_time": "2026-01-04T04:00", **key, **keys}
        windows: Any = {"w": window} if named else [{"name": "w", **window}]
        _, known = compile_policy(file_of(global_policies=[RESTART], maintenance_windows=windows), CATALOGUE)
        return [(str(finding.severity), finding.message) for finding in known]

    expected = [("warning", "the window comes once: without a recurrence this is ignored")]
    assert finding_texts() == finding_texts(recurrence="none") == expected
    assert finding_texts(recurrence="monthly") == []


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (name(pattern="[A-Z ]+!"), "no service_name that the operation takes fits the pattern"),
        (name(pattern="-.*"), "no service_name that the operation takes fits the pattern"),
        (name(pattern="a{200}", max_length=10), "what fits the pattern is longer than 10"),
    ],
)
def test_a_pattern_that_nothing_of_the_parameter_fits_is_vacuous(keys: dict[str, Any], reason: str) -> None:
    (text,) = found(rule("a", "service_restart", **keys))
    assert text == f"lint: vacuous: 'a' never matches service_restart: {reason}"


def test_an_approval_is_avoidable_by_a_wider_allow_with_another_number() -> None:
    demanding = rule("slow", "service_restart", requires_approval=True, **timeout(min=30))
    assert found(demanding, RESTART) == [
        "warning: avoidable: 'restart' allows the same without an approval where timeout is another"
    ]
    bounded = rule("bounded", "service_restart", **timeout(max=120))
    assert found({**demanding, **timeout(min=30, max=120)}, bounded) == [
        "warning: avoidable: 'bounded' allows the same without an approval where timeout is another"
    ]
    same = {**demanding, **timeout(max=120)}
    assert found(same, bounded) == ["warning: shadowed: 'slow' allows all that 'bounded' allows"]
    by_name = rule("db", "service_restart", requires_approval=True, **name(pattern="db-.*"))
    assert found(by_name, RESTART) == []
    wide = rule("wide", "service_restart", requires_approval=True)
    assert found(demanding, wide) == ["warning: shadowed: 'wide' allows all that 'slow' allows"]


def test_a_rule_with_another_mistake_still_lets_people_declare_an_emergency() -> None:
    governs = rule("governs", "emergency_declare", "emergency_end", user_roles=["sre"])
    recovery = rule("recovery", "service_restart")
    assert found(governs, emergency_policies=[recovery]) == []
    assert found(emergency_policies=[recovery]) == [
        "warning: no rule allows emergency_declare: these rules are never used"
    ]


def test_approval_windows_that_nobody_approves_are_reported() -> None:
    windows = rule("windows", "window_request", user_roles=["sre"])
    refused = ["warning: demands no approval: window_request is refused, since its approvers are those of the window"]
    assert found(windows) == refused
    assert found({**windows, "requires_approval": True}) == []
    assert found(windows, rule("approved", "window_request", users=["bob"], requires_approval=True)) == []
