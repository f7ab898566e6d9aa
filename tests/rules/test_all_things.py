"""A rule about named packages does not match an update of all packages."""

from itertools import product
from typing import Any

from tests.rules import reference
from tests.rules.asking import ALICE, CATALOGUE, NOON, World, at, policy, rule
from tests.rules.deciding import compiled, plain, ruling
from tests.rules.small_world import INVENTORY, PRINCIPALS

from writ_contracts.inventory import Target
from writ_rules.analysis.access import AccessQuery, who_can
from writ_rules.analysis.question_space import QuestionSpace
from writ_testing.each_case import each_case


def effect(parameters: dict[str, Any], *rules: dict[str, Any]) -> str:
    return World(policy(global_policies=[*rules])).ask("package_update", **parameters).effect


def by_name(constraint: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    return rule("named", "package_update", parameter_constraints={"package_name": constraint}, **more)


BEHIND = rule("behind", "package_update")
WEB = Target(id="web-1", role="production", backend="local")
PLAIN = rule("plain", "package_update")


@each_case(
    ("rules", "named", "everything"),
    [
        ([PLAIN], "allow", "allow"),
        ([by_name(None)], "allow", "allow"),
        ([by_name({"allowed_values": ["nginx"]})], "allow", "deny"),
        ([by_name({"denied_values": ["linux-image-amd64"]})], "allow", "deny"),
        ([by_name({"pattern": ".*"})], "allow", "deny"),
        ([by_name({"type": "string", "required": False})], "allow", "deny"),
        ([by_name({"allowed_values": ["nginx"], "default": "nginx"})], "allow", "allow"),
        ([PLAIN, by_name({"allowed_values": ["postgresql"]}, requires_approval=True)], "allow", "require_approval"),
        ([PLAIN, by_name({"pattern": "linux-.*"}, approval={"proof": "verified"})], "allow", "require_approval"),
        ([PLAIN, by_name({"denied_values": ["nginx"]}, requires_approval=True)], "allow", "require_approval"),
        ([by_name({"allowed_values": ["nginx"]}, requires_approval=True)], "require_approval", "deny"),
        ([PLAIN, by_name({"allowed_values": ["linux-image-amd64"]}, allowed=False)], "allow", "deny"),
        ([PLAIN, by_name({"allowed_values": ["linux-image-amd64"], "required": True}, allowed=False)], "allow", "deny"),
        ([PLAIN, by_name({"allowed_values": ["linux"], "default": "nginx"}, allowed=False)], "allow", "deny"),
    ],
)
def test_rule_on_package_name_never_allows_an_update_without_a_name(
    rules: list[dict[str, Any]], named: str, everything: str
) -> None:
    assert effect({"package_name": "nginx"}, *rules) == named
    assert effect({}, *rules) == everything
    assert effect({"package_name": None}, *rules) == everything


LATER = {"time_restrictions": [{"start_time": "22:00", "end_time": "23:00"}]}
SCANNED = {"scans": [{"scanner": "trivy"}]}
LIMITED = {"max_concurrent": 1, "max_targets": 2, "operation_timeout": 60}
NGINX = {"allowed_values": ["nginx"]}
PARAMETERS: list[dict[str, Any]] = [{}, {"package_name": "nginx"}, {"package_name": "ssh"}, {"index": "fetch"}]
AGAIN = {**rule("other", "package_update", requires_approval=True), "parameter_constraints": {"package_name": NGINX}}


@each_case(
    "sections",
    [
        {"global_policies": [PLAIN, by_name(NGINX, requires_approval=True)]},
        {"global_policies": [PLAIN, by_name(NGINX, requires_approval=True, **LATER)]},
        {"global_policies": [PLAIN, by_name(NGINX, requires_approval=True, **SCANNED)]},
        {"global_policies": [PLAIN, by_name(NGINX, **SCANNED)]},
        {"global_policies": [PLAIN, by_name({**NGINX, "required": True}, **LIMITED)]},
        {"global_policies": [PLAIN, by_name({"allowlist_source": "list_packages"}, **LIMITED)]},
        {"global_policies": [PLAIN, by_name({**NGINX, "default": "nginx"}, **LIMITED)]},
        {"global_policies": [by_name(NGINX, requires_approval=True)], "deny_by_default": False},
        {"global_policies": [PLAIN], "role_policies": {"gateway": [by_name(NGINX, requires_approval=True)]}},
        {
            "global_policies": [PLAIN],
            "role_policies": {"gateway": [BEHIND, by_name(NGINX, **LIMITED)]},
        },
        {"global_policies": [PLAIN], "emergency_policies": [by_name(NGINX, requires_approval=True)]},
        {"global_policies": [by_name(NGINX, requires_approval=True)], "emergency_policies": [PLAIN]},
        {"global_policies": [AGAIN], "emergency_policies": [PLAIN, by_name(NGINX, **LIMITED)]},
    ],
)
def test_engine_and_reference_agree_on_updates(sections: dict[str, Any]) -> None:
    file = {"policies": {"name": "all", **sections}}
    files = {"policy": file, "inventory": INVENTORY, "principals": PRINCIPALS}
    loaded = compiled(file)
    facts: dict[str, Any] = {"listings": {}, "scans": {}}
    assert loaded is not None
    for supplied, emergency in product(PARAMETERS, (False, True)):
        requested = {"principal": "alice", "operation": "package_update", "target": "web-2", "parameters": supplied}
        requested |= {"at": NOON, "emergency": emergency, "dry_run": False, "own": False, "approvals": []}
        assert plain(ruling(loaded, requested, facts)) == reference.answer(files, requested, facts), (
            supplied,
            emergency,
        )


def test_limits_of_a_rule_on_names_hold_for_an_update_of_all() -> None:
    world = World(policy(global_policies=[PLAIN, by_name(NGINX, **LIMITED)]))
    for supplied in PARAMETERS[:2]:
        found = world.ask("package_update", **supplied)
        assert ({limit.kind for limit in found.limits}, found.timeout) == ({"max_concurrent", "max_targets"}, 60)
    assert world.ask("package_update", package_name="ssh").limits == []


def test_the_trace_says_that_a_rule_on_names_allows_nothing() -> None:
    found = World(policy(global_policies=[PLAIN, by_name(NGINX, requires_approval=True)])).ask("package_update")
    entry = next(one for one in found.trace if one.rule == "named")
    assert (entry.matched, entry.note) == (False, "allows nothing here; its demands and limits hold")
    assert found.rules == ["named", "plain"]


def test_a_closed_window_of_a_rule_on_names_demands_nothing() -> None:
    assert effect({}, PLAIN, by_name(NGINX, requires_approval=True, **LATER)) == "allow"


def test_a_rule_on_names_which_cannot_be_judged_denies_an_update_of_all() -> None:
    assert effect({}, PLAIN, by_name(NGINX, requires_approval=True, **SCANNED)) == "deny"


def test_update_of_all_packages_needs_the_approval_of_a_rule_on_names() -> None:
    some = policy(global_policies=[PLAIN, by_name(NGINX, requires_approval=True)])
    space = QuestionSpace(catalogue=CATALOGUE, targets=(WEB,), principals=(ALICE,))
    found = who_can(some, space, "package_update", AccessQuery(at=at(NOON), parameters={})).accesses
    assert [(one.allowed, one.approval) for one in found] == [("always", "always")]


def test_the_reason_names_the_missing_package_name() -> None:
    world = World(policy(global_policies=[by_name({"allowed_values": ["nginx"]})]))
    ruling = world.ask("package_update")
    assert ruling.code == "no_rule"
    assert "package_name.required is nothing, expected a value" in ruling.reason


def test_default_of_a_rule_does_not_narrow_an_update_that_fetches_the_index() -> None:
    named = by_name({"allowed_values": ["nginx"], "default": "nginx"})
    assert effect({"index": "fetch"}, named) == "deny"
