"""`required_items` demands items of a list: a caller may name more and no fewer. Lint finds denials of packages that
dependencies go round.
"""

from typing import Any

import pytest
from tests.rules.asking import World, policy, refused, rule, warned
from tests.rules.test_lint import found

from writ_documents import yaml_file
from writ_rules.engine.decisions.ruling import Ruling

KERNEL, SSL = "linux-*", "openssl*"


def bounded(name: str = "ops", **constraint: Any) -> dict[str, Any]:
    return rule(name, "package_install", parameter_constraints={"keep_packages": constraint})


def install(*rules: dict[str, Any], **parameters: Any) -> Ruling:
    world = World(policy(global_policies=[*rules]))
    return world.ask("package_install", package_name="nginx", **parameters)


@pytest.mark.parametrize(
    ("items", "effect"),
    [([SSL], "allow"), ([KERNEL, SSL], "allow"), ([], "deny"), ([KERNEL], "deny"), (["openssl"], "deny")],
)
def test_list_must_have_each_item_of_the_rule(items: list[str], effect: str) -> None:
    assert install(bounded(required_items=[SSL]), keep_packages=items).effect == effect


@pytest.mark.parametrize("parameters", [{}, {"keep_packages": None}])
def test_absent_list_lacks_the_items_unless_the_rule_fills_it_in(parameters: dict[str, Any]) -> None:
    ruling = install(bounded(required_items=[SSL]), **parameters)
    assert (ruling.effect, ruling.code) == ("deny", "no_rule")
    assert "keep_packages.required is nothing" in ruling.reason
    filled = install(bounded(required_items=[SSL], default=[SSL]), **parameters)
    assert (filled.effect, filled.effective["keep_packages"]) == ("allow", [SSL])


def test_reason_names_the_items() -> None:
    ruling = install(bounded(required_items=[SSL]), keep_packages=[])
    assert "keep_packages.required_items" in ruling.reason
    assert SSL in ruling.reason


@pytest.mark.parametrize("mode", ["strict", "permissive"])
def test_deny_rule_cannot_have_required_items(mode: str) -> None:
    file = {"policies": {"global_policies": [{**bounded(required_items=[SSL]), "allowed": False}]}}
    (problem,) = refused(yaml_file.dump(file), mode)
    assert "a deny rule cannot have it, since one item less would evade it" in problem


def test_lint_reports_required_items_that_do_not_fit() -> None:
    (problem,) = refused(yaml_file.dump({"policies": {"global_policies": [bounded(required_items=["Open SSL"])]}}))
    assert "package_install.keep_packages can't have this item" in problem
    (problem,) = refused(
        yaml_file.dump({"policies": {"global_policies": [bounded(required_items=[SSL], default=[KERNEL])]}})
    )
    assert "the default itself breaks required_items" in problem


def test_lint_knows_which_of_two_demands_is_wider() -> None:
    narrow, wide = bounded("narrow", required_items=[SSL, KERNEL]), bounded("wide", required_items=[SSL])
    shadowed = "warning: shadowed: 'wide' allows all that 'narrow' allows"
    assert found(narrow, wide) == [shadowed]
    assert found(narrow, bounded("other", required_items=["other"])) == []


KEEPS_SSL = {"name": "keep-ssl", "operations": ["package_update"], "allowed": False}
KEEPS_SSL |= {"parameter_constraints": {"package_name": {"pattern": "openssl.*"}}}


@pytest.mark.parametrize(
    ("constraints", "hints"),
    [
        ({}, 1),
        ({"keep_packages": {"default": [SSL]}}, 1),
        ({"keep_packages": {"required_items": [], "default": []}}, 1),
        ({"keep_packages": {"required_items": [SSL], "default": [SSL]}}, 0),
        ({"only_packages": {"allowed_items": ["nginx*"], "default": ["nginx*"]}}, 0),
    ],
)
def test_lint_hints_where_a_dependency_goes_round_a_denial(constraints: dict[str, Any], hints: int) -> None:
    one = rule("installs", "package_install", parameter_constraints=constraints)
    text = yaml_file.dump({"policies": {"global_policies": [KEEPS_SSL, one]}})
    hinted = [warning for warning in warned(text) if "it denies the named package alone" in warning]
    assert len(hinted) == hints
    assert all("by 'installs' such a package may still change as a dependency" in each for each in hinted)


def test_lint_hints_at_no_rule_for_other_targets() -> None:
    one = rule("installs", "package_install", target_roles=["development"])
    text = yaml_file.dump({"policies": {"global_policies": [{**KEEPS_SSL, "target_roles": ["production"]}, one]}})
    assert not [warning for warning in warned(text) if "it denies the named package alone" in warning]
