"""Facts: listings of targets and findings of scanners. Needed, failed, stale and absent ones differ."""

from typing import Any

import pytest
from tests.rules.asking import NOON, World, at, policy, rule

from writ_rules.engine.facts import Facts, NeededListing, ScanFinding, TargetListing, TargetScan

RESTARTS = rule("restarts", "service_restart")
NOW = at(NOON)


def listing(*names: str, source: str = "list_services", age: float = 0.0, failure: str = "") -> Facts:
    return Facts({source: TargetListing(source, frozenset(names), NOW - age, failure)}, {})


def listed(constraint: dict[str, Any], *, allowed: bool = True) -> World:
    limits = {"service_name": {"allowlist_source": "list_services", **constraint}}
    return World(
        policy(global_policies=[rule("listed", "service_restart", allowed=allowed, parameter_constraints=limits)])
    )


def test_listing_that_was_not_requested_is_needed() -> None:
    ruling = listed({}).ask()
    assert (ruling.effect, ruling.code, ruling.rules) == ("deny", "facts_needed", ["listed"])
    assert ruling.needs == [NeededListing("list_services")]


def test_value_is_allowed_only_if_the_target_lists_it() -> None:
    assert listed({}).ask(facts=listing("nginx")).effect == "allow"
    assert listed({}).ask(facts=listing("ssh")).code == "no_rule"
    assert listed({}).ask(facts=listing()).code == "no_rule"


@pytest.mark.parametrize("facts", [listing("nginx", failure="no answer"), listing("nginx", age=61), listing(age=-61)])
def test_failed_or_stale_listing_cannot_be_judged_and_is_not_requested_again(facts: Facts) -> None:
    ruling = listed({}).ask(facts=facts)
    assert (ruling.code, ruling.needs) == ("rule_error", [])
    assert "could not be" in ruling.reason


@pytest.mark.parametrize("max_age", [300, "5m"])
def test_rule_limits_the_age_of_a_listing(max_age: Any) -> None:
    assert listed({"max_age": max_age}).ask(facts=listing("nginx", age=300)).effect == "allow"
    assert listed({"max_age": max_age}).ask(facts=listing("nginx", age=301)).code == "rule_error"


def test_a_list_that_targets_do_not_have_always_denies() -> None:
    ruling = listed({"allowlist_source": "list_moons"}).ask(facts=listing("nginx", source="list_moons"))
    assert ruling.code == "rule_error"


def test_a_deny_without_its_list_denies() -> None:
    world = listed({}, allowed=False)
    assert world.ask().code == "facts_needed"
    assert world.ask(facts=listing(failure="no answer")).code == "rule_error"


def test_listing_is_not_requested_if_the_rule_fails_without_it() -> None:
    assert listed({"max_length": 3}).ask().code == "no_rule"


def test_no_list_is_needed_where_something_else_denies_in_any_case() -> None:
    world = World(
        policy(
            global_policies=[
                rule("no", "service_restart", allowed=False),
                rule("listed", "service_restart", parameter_constraints={"service_name": {"allowlist_source": "x"}}),
            ]
        )
    )
    assert world.ask().code == "denied"


def test_no_list_is_needed_where_another_rule_errs_in_any_case() -> None:
    limits = {"service_name": {"allowlist_source": "list_services"}}
    rules = [
        rule("listed", "service_restart", parameter_constraints=limits),
        rule("scanned", "service_restart", scans=[{"scanner": "trivy"}]),
    ]
    ruling = World(policy(global_policies=rules)).ask()
    assert (ruling.code, ruling.rules) == ("rule_error", ["listed", "scanned"])


@pytest.mark.parametrize(
    ("name", "names", "found"),
    [
        ("nginx", ["nginx.service"], True),
        ("nginx", ["nginx"], True),
        ("logrotate.timer", ["logrotate.timer"], True),
        ("logrotate.timer", ["logrotate.service"], False),
        ("nginx", ["nginx-debug.service"], False),
    ],
)
def test_a_service_is_known_with_and_without_its_ending(name: str, names: list[str], found: bool) -> None:
    assert (listed({}).ask(service_name=name, facts=listing(*names)).effect == "allow") is found


@pytest.mark.parametrize(
    ("path", "found"),
    [("/srv/app", True), ("/srv/app/a/b", True), ("/srv/application", False), ("/srv", False), ("/data/x", True)],
)
def test_path_is_listed_only_below_a_root(path: str, found: bool) -> None:
    limits = {"file_path": {"allowlist_source": "list_file_roots"}}
    world = World(policy(global_policies=[rule("reads", "file_read", parameter_constraints=limits)]))
    facts = listing("/srv/app", "/data/", source="list_file_roots")
    assert (world.ask("file_read", file_path=path, facts=facts).effect == "allow") is found


def test_each_item_of_a_list_must_be_listed_and_numbers_count_as_text() -> None:
    limits = {"ports": {"allowlist_source": "list_ports"}, "timeout": {"allowlist_source": "list_ports"}}
    rules = [rule("creates", "container_create", parameter_constraints=limits)]
    world = World(policy(require_approval_for_admin=False, global_policies=rules))

    def effect_on_ports(*ports: str) -> str:
        facts = listing("80", "443", "60", source="list_ports")
        supplied: dict[str, Any] = {"container_name": "web", "image": "nginx", "ports": list(ports), "timeout": 60}
        return world.ask("container_create", facts=facts, **supplied).effect

    assert (effect_on_ports("80", "443"), effect_on_ports("80", "22")) == ("allow", "deny")


def test_trace_names_the_listing_and_the_missing_value() -> None:
    entry = listed({}).ask(facts=listing("ssh", age=12)).trace[0]
    assert (entry.clause, entry.expected, entry.got) == ("service_name.allowlist_source", "in list_services", '"nginx"')
    assert entry.note == "list_services, 12 s old"
    assert listed({}).ask(facts=listing("nginx", age=12)).trace[0].note == "list_services, 12 s old"


def report(*severities: Any, age: float = 0.0) -> Facts:
    findings = tuple(ScanFinding(f"CVE-{number}", severity) for number, severity in enumerate(severities))
    return Facts({}, {"trivy": TargetScan("trivy", "web-1", NOW - age, findings)})


def scanned(**scan: Any) -> World:
    return World(policy(global_policies=[{**RESTARTS, "scans": [{"scanner": "trivy", **scan}]}]))


def test_findings_of_the_severity_or_worse_count() -> None:
    high = scanned(severity="high")
    effects = [high.ask(facts=report(severity)).effect for severity in ("low", "medium", "high", "critical")]
    assert effects == ["deny", "deny", "allow", "allow"]


def test_rule_can_require_that_there_is_no_finding() -> None:
    clean = scanned(severity="high", present=False)
    assert clean.ask(facts=report("low", "medium")).effect == "allow"
    assert clean.ask(facts=report()).effect == "allow"
    assert clean.ask(facts=report("critical")).code == "no_rule"


@pytest.mark.parametrize("present", [True, False])
def test_scan_condition_without_a_fresh_report_cannot_be_judged(present: bool) -> None:
    world = scanned(present=present)
    assert world.ask().code == "rule_error"
    assert world.ask(facts=report(age=86_401)).code == "rule_error"
    assert world.ask(facts=report("low", age=86_400)).code != "rule_error"
    assert scanned(present=present, max_age="1h").ask(facts=report("low", age=3_601)).code == "rule_error"
