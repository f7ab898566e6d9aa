"""`allowed_items` bounds a list by the rule's permission, and the rule fills in a missing bound."""

from typing import Any

import pytest
from tests.rules.asking import World, policy, refused, rule, warned
from tests.rules.test_lint import found

from writ_documents import yaml_file
from writ_rules.engine.decisions.ruling import Ruling

OURS, ALSO, THEIRS = "registry.example/*", "mirror.example/*", "docker.io/*"


def bounded(name: str = "stacks", **constraint: Any) -> dict[str, Any]:
    return rule(name, "stack_deploy", "container_create", parameter_constraints={"only_images": constraint})


def deploy(*rules: dict[str, Any], **parameters: Any) -> Ruling:
    world = World(policy(global_policies=[*rules]))
    return world.ask("stack_deploy", stack_name="shop", source="shop", **parameters)


@pytest.mark.parametrize(
    ("items", "effect"),
    [
        ([OURS], "allow"),
        ([OURS, ALSO], "allow"),
        ([], "allow"),
        ([OURS, THEIRS], "deny"),
        ([THEIRS], "deny"),
        (["*/*"], "deny"),
    ],
)
def test_every_item_must_be_among_those_of_the_rule(items: list[str], effect: str) -> None:
    assert deploy(bounded(allowed_items=[OURS, ALSO]), only_images=items).effect == effect


@pytest.mark.parametrize("parameters", [{}, {"only_images": None}])
def test_absent_list_does_not_satisfy_allowed_items(parameters: dict[str, Any]) -> None:
    ruling = deploy(bounded(allowed_items=[OURS]), **parameters)
    assert (ruling.effect, ruling.code) == ("deny", "no_rule")
    assert "only_images.required is nothing" in ruling.reason


@pytest.mark.parametrize("parameters", [{}, {"only_images": None}])
def test_a_rule_fills_in_its_bound(parameters: dict[str, Any]) -> None:
    ruling = deploy(bounded(allowed_items=[OURS, ALSO], default=[OURS]), **parameters)
    assert ruling.effect == "allow"
    assert ruling.effective["only_images"] == [OURS]


def test_a_caller_may_give_a_narrower_bound_than_the_default_and_no_wider_one() -> None:
    one = bounded(allowed_items=[OURS, ALSO], default=[OURS, ALSO])
    assert deploy(one, only_images=[ALSO]).effective["only_images"] == [ALSO]
    assert deploy(one, only_images=[ALSO, THEIRS]).effect == "deny"


def test_the_same_rule_bounds_a_container() -> None:
    world = World(policy(global_policies=[bounded(allowed_items=[OURS], default=[OURS])]))
    ruling = world.ask("container_create", container_name="web", image="nginx")
    assert (ruling.effect, ruling.effective["only_images"]) == ("allow", [OURS])


def test_items_of_other_lists_are_judged_by_the_callers_value_or_the_catalogues() -> None:
    one = rule("nets", "network_scan", parameter_constraints={"ports": {"allowed_items": [22, 80]}})
    world = World(policy(global_policies=[one]))
    assert world.ask("network_scan", cidr="10.0.0.0/24", ports=[22, 80]).effect == "allow"
    assert world.ask("network_scan", cidr="10.0.0.0/24", ports=[22, 443]).effect == "deny"


@pytest.mark.parametrize("mode", ["strict", "permissive"])
def test_deny_rule_cannot_have_allowed_items(mode: str) -> None:
    file = {"policies": {"global_policies": [{**bounded(allowed_items=[THEIRS]), "allowed": False}]}}
    (problem,) = refused(yaml_file.dump(file), mode)
    assert "a deny rule cannot have it, since one more item would evade it" in problem


def test_lint_reports_allowed_items_that_do_not_fit() -> None:
    text = yaml_file.dump({"policies": {"global_policies": [bounded(allowed_items=["nginx", OURS])]}})
    assert any("stack_deploy.only_images can't have this item" in warning for warning in warned(text))
    one = rule("a", "stack_deploy", parameter_constraints={"stack_name": {"allowed_items": ["shop"]}})
    (problem,) = refused(yaml_file.dump({"policies": {"global_policies": [one]}}))
    assert "stack_deploy.stack_name is of type string, which 'allowed_items' can't judge" in problem
    outside = bounded(allowed_items=[OURS], default=[THEIRS])
    problem, _ = refused(yaml_file.dump({"policies": {"global_policies": [outside]}}))  # one of each operation
    assert "the default itself breaks allowed_items" in problem


def test_lint_knows_which_of_two_bounds_is_wider() -> None:
    narrow, wide = bounded("narrow", allowed_items=[OURS]), bounded("wide", allowed_items=[ALSO, OURS])
    shadowed = "warning: shadowed: 'wide' allows all that 'narrow' allows"
    assert found(narrow, wide) == [shadowed]
    assert found(narrow, bounded("other", allowed_items=[ALSO])) == []
    open_one = rule("wide", "stack_deploy", "container_create")
    assert found(narrow, open_one) == [shadowed]
