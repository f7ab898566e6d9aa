"""Each policy of docs/policy-recipes.md loads without a finding, and decides as its text says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.architecture.tree import ROOT
from tests.rules.asking import loaded, warned

from writ_cli.main import cli
from writ_testing.each_case import each_case

BLOCK = re.compile(r"```yaml\n(policies:\n  name: (\S+)\n.*?)```", re.DOTALL)
TEXT = (ROOT / "docs/policy-recipes.md").read_text()
RECIPES = {name: text for text, name in BLOCK.findall(TEXT)}
TEAMS = {
    "shop": ["shop-1", "shop-2"],
    "search": ["search-1", "search-2"],
    "sre": ["sre-1"],
    "lead": ["lead-1"],
    "dba": ["dba-1", "dba-2"],
    "security": ["security-1"],
    "release": ["release-1"],
    "guest": ["carol"],
    "contractor": ["paul"],
}
PRINCIPALS = [
    *({"id": who, "kind": "human", "roles": [role]} for role, people in TEAMS.items() for who in people),
    {"id": "bot", "kind": "agent", "roles": ["sre"], "acts_for": "sre-1"},
]
INVENTORY = [
    {"id": "gw", "role": "gateway", "backend": "local"},
    {"id": "prod", "role": "production", "backend": "local", "docker": {}, "attributes": {"criticality": "high"}},
    {"id": "behind", "role": "production", "backend": "local", "gateway": "gw"},
    {"id": "staging-1", "role": "staging", "backend": "local"},
]
NIGHT, FREEZE = "2026-11-24T22:30:00+01:00", "2026-12-24T12:00:00Z"
EVENING = "2026-11-24T17:00:00+01:00"
SECRETS = ["/srv/app/.env", "/etc/ssl/private/web.KEY", "/etc/shadow", "/srv/.pgpass", "/root/passwords"]
KEPT = ["openssl*", "libssl*", "linux-*"]
PATCH_NIGHTS = ["2026-09-08T23:00:00+02:00", "2026-11-10T23:00:00+01:00", "2027-06-09T01:00:00+02:00"]
OTHER_NIGHTS = ["2026-11-03T23:00:00+01:00", "2026-11-17T23:00:00+01:00", "2026-11-11T23:00:00+01:00"]


def case(who: str, operation: str, decision: str, target: str = "prod", **keys: Any) -> dict[str, Any]:
    """Return a case of a suite; its parameters are those that the operation needs, if none are given."""
    noun = operation.partition("_")[0]
    usual = {"service": {"service_name": "nginx"}, "package": {"package_name": "openssl"}}
    usual |= {"stack": {"stack_name": "shop", "source": "shop"}, "backup": {"backup_id": "b-1", "container_name": "db"}}
    about = {"callers": [who], "targets": [target], "operations": [operation], "decision": decision}
    return {"parameters": usual.get(noun, {}), **about, **keys}


CASES = {
    "restarts": [
        case("shop-1", "service_restart", "require_approval", now=NIGHT, limits={"shop-restarts": {"max_targets": 2}}),
        case("shop-1", "service_restart", "require_approval", now=NIGHT, approvals=["shop-2", "search-1"]),
        case("shop-1", "service_restart", "allow", now=NIGHT, approvals=["search-1", "search-2"]),
        case("shop-1", "service_restart", "deny", code="no_rule"),
        case("shop-1", "service_restart", "allow", emergency=True, demands={}, limits={}, rules=["rescue"]),
        case("search-1", "service_restart", "deny", now=NIGHT),
        case("search-1", "service_restart", "deny", now=NIGHT, emergency=True),
    ],
    "few-restarts": [
        case("sre-1", "service_restart", "require_approval"),
        case("sre-1", "service_restart", "allow", approvals=["lead-1"]),
        case("shop-1", "service_restart", "deny"),
    ],
    "freeze": [
        case("sre-1", "service_restart", "deny", now=FREEZE, rules=["freeze"]),
        case("sre-1", "package_install", "allow", now=FREEZE),
        case("sre-1", "package_update", "allow", now=FREEZE, parameters={"package_name": "libssl3"}),
        case("sre-1", "package_update", "deny", now=FREEZE, parameters=[{"package_name": "nginx"}, {}]),
        case("sre-1", "service_restart", "allow", now=FREEZE, target="staging-1"),
        case("sre-1", "service_restart", "allow", now="2027-01-03T23:00:00Z"),
    ],
    "kept": [
        case("sre-1", "package_install", "allow", effective={"keep_packages": KEPT}),
        case("sre-1", "package_update", "allow", parameters={}, effective={"keep_packages": KEPT}),
        case("sre-1", "package_update", "allow", parameters={"keep_packages": [*KEPT, "nginx"]}),
        case("sre-1", "package_update", "deny", parameters={"keep_packages": KEPT[:1]}),
    ],
    "patch-day": [
        case("sre-1", "package_update", "allow", now=PATCH_NIGHTS),
        case("sre-1", "package_update", "deny", now=OTHER_NIGHTS),
    ],
    "assistants": [
        case("sre-1", "service_restart", "allow", parameters={"service_name": "mysql"}),
        case("bot", "service_restart", "deny", parameters={"service_name": "mysql"}),
        case("bot", "service_stop", "deny"),
        case("bot", "service_restart", "require_approval"),
    ],
    "contractors": [
        case("paul", "service_restart", "allow", "staging-1"),
        case("paul", "service_restart", "deny", "staging-1", now=EVENING),
        case("paul", "service_restart", "require_approval", now=EVENING),
        case("paul", "service_restart", "allow", now=EVENING, approvals=["lead-1"]),
        case("paul", "service_restart", "deny", parameters={"service_name": "mysql"}),
        case("sre-1", "stack_remove", "deny", parameters={"stack_name": "shop", "volumes": True}, code="denied"),
        case("sre-1", "stack_remove", "deny", parameters={"stack_name": "shop"}, code="no_rule"),
        case("bot", "service_status", "allow"),
        case("bot", "file_read", "allow", parameters={"file_path": "/etc/motd"}),
        case("bot", "file_read", "deny", parameters=[{"file_path": path} for path in SECRETS], code="denied"),
        case("bot", "service_restart", "deny"),
        case("sre-1", "service_status", "deny"),
    ],
    "restores": [
        case("dba-1", "backup_restore", "require_approval", approvals=["dba-2"]),
        case("dba-1", "backup_restore", "require_approval", approvals=["security-1", "dba-2"]),
        case("dba-1", "backup_restore", "allow", approvals=["dba-2", "security-1"]),
        case("dba-1", "backup_restore", "deny", target="staging-1"),
    ],
    "contractor": [
        case("carol", "file_read", "allow", "staging-1", parameters={"file_path": "/var/log/syslog"}),
        case("carol", "file_read", "deny", "staging-1", parameters={"file_path": "/etc/shadow"}),
        case("carol", "file_read", "invalid", "staging-1", parameters={"file_path": "/var/log/../../etc/shadow"}),
        case("carol", "service_status", "deny", "staging-1", now="2026-11-30T00:00:00Z"),
        case("carol", "service_status", "deny"),
    ],
    "edge": [
        case("sre-1", "service_restart", "allow", "behind", timeout=60),
        case("sre-1", "service_restart", "deny", "behind", parameters={"service_name": "nginx", "timeout": 61}),
        case("sre-1", "service_restart", "allow", parameters={"service_name": "nginx", "timeout": 61}),
        case("shop-1", "service_restart", "deny", "behind"),
    ],
    "scanned": [
        case("release-1", "stack_deploy", "allow", facts={"scans": {"trivy": [{"id": "CVE-1", "severity": "high"}]}}),
        case("release-1", "stack_deploy", "deny", facts={"scans": {"trivy": [{"id": "C", "severity": "critical"}]}}),
        case("release-1", "stack_deploy", "deny", code="rule_error"),
        case("release-1", "stack_deploy", "deny", facts={"scans": {"trivy": {"age": "2d", "findings": []}}}),
    ],
}


@each_case("recipe", RECIPES)
def test_a_recipe_has_no_finding(recipe: str) -> None:
    loaded(RECIPES[recipe])
    assert warned(RECIPES[recipe]) == []


def test_every_recipe_has_cases() -> None:
    assert list(CASES) == list(RECIPES)
    assert len(re.findall("```yaml", TEXT)) == len(RECIPES)


@pytest.mark.parametrize("recipe", CASES)
def test_a_recipe_decides_as_its_text_says(recipe: str, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(RECIPES[recipe])
    suite = {"policy": "policy.yaml", "now": "2026-11-24T12:00:00+01:00", "inventory": INVENTORY}
    cases = [{"name": f"case {number}", **each} for number, each in enumerate(CASES[recipe])]
    (tmp_path / "policy_test.yaml").write_text(json.dumps({**suite, "principals": PRINCIPALS, "cases": cases}))
    tested = CliRunner().invoke(cli, ["policy", "test", str(tmp_path / "policy_test.yaml")])
    assert tested.exit_code == 0, tested.output
    assert tested.output.endswith(" cases, passed\n")
