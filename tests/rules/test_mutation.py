"""The suites of shipped policies and templates notice a missing or reversed rule."""

from pathlib import Path

import pytest
from msgspec import structs
from tests.rules.asking import CATALOGUE
from tests.rules.mutants import Mutant, mutants

from writ_documents import shapes
from writ_rules.coverage import CoverageCounter
from writ_rules.engine.compile import compile_policy
from writ_rules.engine.policy_file.format import PolicyDocument
from writ_rules.suite_runs import PreparedSuite, read_suite, run_case
from writ_rules.suites import suites_in

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "libs/cli/writ_cli/policy/templates"
SUITES = [*suites_in(ROOT / "policies"), *suites_in(TEMPLATES)]


def is_noticed(suite: PreparedSuite, mutant: Mutant) -> bool:
    """Return true if some case fails with this policy."""
    policy, findings = compile_policy(mutant.file, CATALOGUE)
    assert policy is not None, findings
    setting = structs.replace(suite.setting, policy=policy)
    return any(not run_case(case, setting, CoverageCounter()).passed for case in suite.cases)


@pytest.mark.parametrize("path", SUITES, ids=lambda path: path.stem)
def test_some_case_fails_when_a_rule_is_dropped_turned_round_or_without_its_approval(path: Path) -> None:
    suite = read_suite(path, CATALOGUE, "strict")
    made = list(
        mutants(shapes.convert(suite.source.document, PolicyDocument), ("dropped", "flipped", "approval_dropped"))
    )
    assert len(made) >= 2 * suite.source.policy.rules
    assert [str(mutant) for mutant in made if not is_noticed(suite, mutant)] == []


def test_every_shipped_policy_is_among_them() -> None:
    shipped = {path for folder in (ROOT / "policies", TEMPLATES) for path in folder.glob("*.yaml")}
    tested = {path.with_name(path.name.replace("_test", "")) for path in SUITES}
    assert shipped == tested | set(SUITES)
    assert len(SUITES) >= 7
