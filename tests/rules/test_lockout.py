"""A policy that would lock everybody out is found before it is published, shipped ones included."""

from pathlib import Path
from typing import Any

import pytest
from tests.architecture.tree import ROOT
from tests.rules.asking import NOBODYS_KEY, NOON, at, loaded, policy, rule

from writ_contracts.inventory import Kind, Principal
from writ_documents.readers import read_people
from writ_rules.analysis.lockout import GOVERNING, lockouts

TEMPLATES = ROOT / "libs/cli/writ_cli/policy/templates"
SHIPPED = [
    path
    for folder in (ROOT / "policies", TEMPLATES)
    for path in sorted(folder.glob("*.yaml"))
    if not path.stem.endswith("_test")
]
TEAM = read_people(ROOT / "policies/examples/principals.yaml").principals
every_shipped = pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)


def person(name: str, *roles: str, kind: Kind = "human", **more: Any) -> Principal:
    return Principal(id=name, kind=kind, key=NOBODYS_KEY, roles=list(roles), **more)


OPERATOR = [person("operator", "operator", "admin")]
"""The people of an installation that `writ up` made."""


def locked(principals: list[Principal], *rules: dict[str, Any], **keys: Any) -> dict[str, str]:
    found = lockouts(policy(global_policies=[*rules], **keys), principals, at(NOON))
    return {one.operation: one.why for one in found}


@every_shipped
def test_a_shipped_policy_locks_no_team_out(path: Path) -> None:
    assert lockouts(loaded(path.read_text()), TEAM, at(NOON)) == []


@pytest.mark.parametrize(
    "path",
    [ROOT / "libs/installation/writ_installation/policy.yaml", TEMPLATES / "homelab.yaml"],
    ids=lambda path: path.stem,
)
def test_the_installed_policy_and_the_homelabs_lock_no_single_operator_out(path: Path) -> None:
    assert lockouts(loaded(path.read_text()), OPERATOR, at(NOON)) == []


@pytest.mark.parametrize("name", ["ai-assistant", "ci-runner", "production", "change-freeze"])
def test_a_teams_template_is_refused_for_a_single_operator_with_the_reason(name: str) -> None:
    found = lockouts(loaded((TEMPLATES / f"{name}.yaml").read_text()), OPERATOR, at(NOON))
    assert [one.operation for one in found] == list(GOVERNING)
    assert "operator: " in found[0].text


ALL = rule("all", *GOVERNING)


def test_an_approval_counts_only_if_another_person_can_give_it() -> None:
    asks = {**ALL, "approval": {"approvers": ["lead"]}}
    alice = person("alice", "lead")
    assert set(locked([alice], asks)) == set(GOVERNING)
    assert "not enough other people" in locked([alice], asks)["stop_lift"]
    again = person("alice-oncall", "lead", person="alice")
    agent = person("copilot", "lead", kind="agent", acts_for="alice")
    assert set(locked([alice, again, agent], asks)) == set(GOVERNING), "one person by three names"
    assert locked([alice, person("bob", "lead")], asks, require_approval_for_admin=False) == {}
    two = {**ALL, "approval": {"approvers": ["lead"], "quorum": 2}}
    carol = person("carol", "lead")
    assert set(locked([alice, person("bob", "lead")], two, require_approval_for_admin=False)) == set(GOVERNING)
    assert locked([alice, person("bob", "lead"), carol], two, require_approval_for_admin=False) == {}


def test_each_governing_operation_is_looked_at() -> None:
    most = rule("most", "policy_publish", "policy_rollback", "stop_lift")
    found = locked([person("alice")], most, require_approval_for_admin=False)
    assert list(found) == ["journal_archive"]
    deny = rule("never", "stop_lift", allowed=False)
    assert list(locked([person("alice")], ALL, deny, require_approval_for_admin=False)) == ["stop_lift"]


def test_right_of_agents_alone_does_not_prevent_a_lockout() -> None:
    machines = {**ALL, "principal_kinds": ["agent", "service"]}
    assert set(locked([person("alice"), person("ci", kind="service")], machines)) == set(GOVERNING)
    assert locked([], ALL)["stop_lift"] == "there are no people"
    assert set(locked([person("alice")], {**ALL, "user_roles": ["boss"]})) == set(GOVERNING)


def test_right_within_a_window_prevents_a_lockout() -> None:
    window = {"start_time": "02:00", "end_time": "03:00", "days_of_week": [7]}
    assert locked([person("alice")], {**ALL, "time_restrictions": [window]}, require_approval_for_admin=False) == {}
