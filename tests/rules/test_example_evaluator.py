"""The example of an evaluator, installed as a package is: found by its entry point, and used by a policy."""

import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import Any

import pytest
from tests.rules.asking import World, rule

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.errors import ConfigError
from writ_contracts.operations import Catalogue
from writ_contracts.plugins import EVALUATORS
from writ_documents import yaml_file
from writ_documents.document import FileErrors
from writ_rules.engine.decide import Ruling
from writ_rules.loading import compile_document
from writ_runtime.plugins.entry_points import load_evaluators

SOURCE = Path(__file__).with_name("example_evaluator")
WEB, SHOP = {"attributes": {"owner": "web"}}, {"attributes": {"owner": "shop"}}
ALICE = {"attributes": {"team": "web"}}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with it in it."""
    folder = tmp_path_factory.mktemp("site")
    command = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", folder)
    subprocess.run([sys.executable, *command, SOURCE], check=True, timeout=100)
    return folder


@pytest.fixture
def catalogue(site: Path, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    monkeypatch.syspath_prepend(str(site))
    found = [entry for one in distributions(path=[str(site)]) for entry in one.entry_points]
    return Catalogue(BUILT_IN, load_evaluators([entry for entry in found if entry.group == EVALUATORS]))


def text(condition: Any, **keys: Any) -> str:
    rules = [rule("own", "service_restart", evaluators=[condition], **keys), rule("any", "service_stop")]
    return yaml_file.dump({"policies": {"name": "test", "global_policies": rules}})


def decided(catalogue: Catalogue, operation: str = "service_restart", **keys: Any) -> Ruling:
    document = yaml_file.parse(text("same_team").encode(), "policy.yaml")
    world = World(compile_document(document, catalogue, "strict")[0])
    return world.ask(operation, **keys)


def test_evaluator_holds_or_gives_a_reason(catalogue: Catalogue) -> None:
    assert decided(catalogue, target=WEB, who=ALICE).effect == "allow"
    denied = decided(catalogue, target=SHOP, who=ALICE)
    assert (denied.effect, denied.code) == ("deny", "no_rule")
    (reported,) = denied.trace
    assert (reported.clause, reported.got) == ("evaluators.same_team", '"web-1 is of shop, alice of web"')


def test_evaluator_that_raises_denies_within_the_scope_of_its_rule_alone(catalogue: Catalogue) -> None:
    erred = decided(catalogue, target=WEB)
    assert (erred.effect, erred.code, erred.rules) == ("deny", "rule_error", ["own"])
    assert decided(catalogue, "service_stop", target=WEB).effect == "allow"


def test_unknown_evaluator_and_unknown_options_are_mistakes_of_the_file(
    catalogue: Catalogue,
) -> None:
    for condition, reply in (
        ("same_taem", "there is no evaluator 'same_taem'; installed are: same_team"),
        ({"name": "same_team", "with": {"team": "web"}}, "'same_team' can't take these options"),
    ):
        with pytest.raises(FileErrors, match=reply) as raised:
            compile_document(yaml_file.parse(text(condition).encode(), "p.yaml"), catalogue, "permissive")
        assert raised.value.found[0].line > 1


def test_an_entry_point_that_is_no_evaluator_ends_the_start() -> None:
    with pytest.raises(ConfigError, match="is not of type Evaluator"):
        load_evaluators([EntryPoint("bad", "writ_testing.plugin.operations:OPERATIONS", EVALUATORS)])


def test_command_finds_installed_evaluators(site: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(text("same_team"))
    command = [str(Path(sys.executable).with_name("writ")), "policy", "validate", str(policy), "-o", "json"]
    without = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert without.returncode == 2
    assert "there is no evaluator 'same_team'" in json.loads(without.stdout)[0]["problems"][0]["message"]
    environ = {**os.environ, "PYTHONPATH": str(site)}
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ)
    assert found.returncode == 0, found.stdout
