"""Shipped policies and templates pass their suites, and the suites exercise each rule."""

from functools import cache
from pathlib import Path

import pytest
from tests.rules.asking import CATALOGUE, warned

from writ_contracts.catalogue import BUILT_IN
from writ_documents import yaml_file
from writ_documents.readers import read_agents, read_inventory
from writ_rules.coverage import Coverage, CoverageCounter
from writ_rules.suite_runs import PreparedSuite, read_suite, run_case, run_suites
from writ_rules.suites import SuiteCase, default_suite_path, is_suite, suites_in
from writ_testing.each_case import each_case

ROOT = Path(__file__).parents[2]
POLICIES, TEMPLATES = ROOT / "policies", ROOT / "libs/cli/writ_cli/policy/templates"
SUITES = [*suites_in(POLICIES), *suites_in(TEMPLATES)]
SHIPPED = [path for folder in (POLICIES, TEMPLATES) for path in sorted(folder.glob("*.yaml")) if not is_suite(path)]


@cache
def suite(path: Path) -> PreparedSuite:
    return read_suite(path, CATALOGUE, "strict")


@each_case(
    ("path", "case"),
    [(path, case) for path in SUITES for case in suite(path).cases],
    ids=lambda one: one.stem if isinstance(one, Path) else one.title,
)
def test_case_of_a_shipped_policy_passes(path: Path, case: SuiteCase) -> None:
    result = run_case(case, suite(path).setting, CoverageCounter())
    assert result.passed, result


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_rule_decides_a_case_and_leaves_another_alone(path: Path) -> None:
    coverage: Coverage = run_suites([suite(default_suite_path(path))]).coverage[0]
    assert {rule.rule: rule.lacks for rule in coverage.rules if not rule.covered} == {}
    assert coverage.percent == 100.0


def test_every_shipped_policy_has_a_suite_and_loads_without_a_warning() -> None:
    assert [default_suite_path(path) for path in SHIPPED] == SUITES
    for path in SHIPPED:
        assert warned(path.read_text()) == []


def test_the_first_policy_lets_its_operator_do_everything_on_development() -> None:
    """The commands of guides, such as docs/docker.md, are then denied on no target of role development."""
    policies = yaml_file.read(POLICIES / "development-flexible.yaml").data["policies"]
    rules = [*policies["global_policies"], *policies["role_policies"]["development"]]
    permitted = {
        operation
        for rule in rules
        if rule["allowed"]
        and "development" in rule.get("target_roles", ["development"])
        and {"operator", "admin"} & {*rule["user_roles"]}
        for operation in rule["operations"]
    }
    assert {one.name for one in BUILT_IN if not one.control} - permitted == set()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_policy_lets_somebody_list_containers_and_stacks(path: Path) -> None:
    policies = yaml_file.read(path).data["policies"]
    allowed = [rule["operations"] for rule in policies["global_policies"] if rule["allowed"]]
    assert {"container_list", "stack_status"} <= {name for names in allowed for name in names}


def test_the_examples_load() -> None:
    inventory = read_inventory(POLICIES / "examples/inventory.yaml")
    pools = {agent.pool for agent in read_agents(POLICIES / "examples/agents.yaml").agents}
    assert {target.pool for target in inventory.targets} == pools


@pytest.mark.parametrize("name", ["production-security-focused", "development-flexible"])
def test_the_examples_are_at_the_names_of_the_specification(name: str) -> None:
    example = ROOT / f"config/policy-examples/{name}.yaml"
    assert example.read_text() == (POLICIES / f"{name}.yaml").read_text()
