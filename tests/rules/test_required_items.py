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


ROUND, LIFTS = "by this rule such a package may still change as a dependency", "a request lifts this bound by"


def hints(*rules: dict[str, Any]) -> list[str]:
    """Return the warnings about dependencies: where, and which of the two."""
    warnings = warned(yaml_file.dump({"policies": {"global_policies": [*rules]}}))
    return [each for each in warnings if ROUND in each or LIFTS in each]


def installs(*operations: str, **constraints: Any) -> dict[str, Any]:
    return rule("installs", *(operations or ["package_install"]), parameter_constraints=constraints)


def test_rule_that_demands_more_items_than_it_permits_never_matches() -> None:
    never = "vacuous: 'ops' never matches package_install: "
    for constraint, why in (
        ({"allowed_items": [SSL], "required_items": [KERNEL, SSL]}, "allowed_items lacks 'linux-*' of required_items"),
        ({"required_items": [KERNEL, SSL], "max_length": 1}, "nothing is at least 2 and at most 1 long"),
        ({"required_items": [f"a{at}" for at in range(101)]}, "nothing is at least 101 and at most 100 long"),
    ):
        (problem,) = refused(yaml_file.dump({"policies": {"global_policies": [bounded(**constraint)]}}))
        assert never + why in problem
    most: dict[str, Any] = {"allowed_items": [SSL, KERNEL], "required_items": [SSL, KERNEL, SSL], "max_length": 2}
    assert found(bounded(**most)) == []


@pytest.mark.parametrize(
    ("constraints", "expected"),
    [
        ({}, [ROUND]),
        ({"keep_packages": {"default": [SSL]}}, [LIFTS, ROUND]),
        ({"keep_packages": {"required_items": [SSL], "default": [SSL]}}, []),
        ({"keep_packages": {"required_items": [KERNEL, "open*"]}}, []),
        ({"keep_packages": {"required_items": [KERNEL]}}, [ROUND]),
        ({"keep_packages": {"allowed_items": [SSL]}}, [LIFTS, ROUND]),
        ({"only_packages": {"allowed_items": ["nginx*"], "default": ["nginx*"]}}, []),
        ({"only_packages": {"allowed_items": ["nginx*", "*ssl"]}}, [ROUND]),
        ({"only_packages": {"allowed_items": [], "default": []}}, []),
        ({"only_packages": {"required": True}}, [ROUND]),
        ({"keep_packages": {"required_items": [], "default": []}}, [LIFTS, ROUND]),
        ({"only_packages": {"required_items": ["nginx"], "default": ["nginx"]}}, [LIFTS, ROUND]),
        ({"only_packages": {"allowlist_source": "list_packages", "required": True}}, []),
    ],
)
@pytest.mark.parametrize("denied", [{"pattern": "openssl.*"}, {"allowed_values": ["openssl"]}])
def test_lint_hints_where_a_dependency_goes_round_a_denial(
    constraints: dict[str, Any], expected: list[str], denied: dict[str, Any]
) -> None:
    denial = {**KEEPS_SSL, "parameter_constraints": {"package_name": denied}}
    found_hints = hints(denial, installs(**constraints))
    assert [text for text in (LIFTS, ROUND) for hint in found_hints if text in hint] == expected


def test_lint_hints_once_at_each_rule_that_bounds_nothing() -> None:
    others = [{**KEEPS_SSL, "name": f"keep-{at}"} for at in range(20)]
    (hint,) = hints(*others, installs(), rule("reads", "package_list"))
    assert "'keep-0' denies the named package alone" in hint


def test_each_named_package_needs_a_bound() -> None:
    denial = {**KEEPS_SSL, "parameter_constraints": {"package_name": {"allowed_values": ["openssl", "sudo"]}}}
    assert len(hints(denial, installs(keep_packages={"required_items": [SSL]}))) == 1
    assert hints(denial, installs(keep_packages={"required_items": [SSL, "sudo"]})) == []


@pytest.mark.parametrize(
    ("pattern", "constraints", "package"),
    [
        ("(openssl|sudo).*", {"keep_packages": {"required_items": [SSL]}}, "sudo"),
        ("(openssl|sudo).*", {"keep_packages": {"required_items": [SSL, "sudo*"]}}, None),
        ("openssl.*", {"keep_packages": {"required_items": ["openssl"]}}, "openssla"),
        ("openssl.*", {"keep_packages": {"required_items": ["open*"]}}, None),
        (".*", {"keep_packages": {"required_items": ["*"]}}, None),
        ("[+].*|sudo", {"keep_packages": {"required_items": [SSL]}}, "sudo"),
        ("[+].*|openssl", {"keep_packages": {"required_items": [SSL]}}, None),
        ("[a-z]+ssl", {"keep_packages": {"required_items": ["lib*"]}}, "assl"),
        ("[a-z]+ssl", {"only_packages": {"allowed_items": ["lib*"]}}, "libssl"),
        (
            "[a-z]+ssl",
            {"only_packages": {"allowed_items": ["lib*"]}, "keep_packages": {"required_items": ["l*"]}},
            None,
        ),
    ],
)
def test_lint_hints_at_a_bound_that_keeps_fewer_packages_than_are_denied(
    pattern: str, constraints: dict[str, Any], package: str | None
) -> None:
    denial = {**KEEPS_SSL, "parameter_constraints": {"package_name": {"pattern": pattern}}}
    found_hints = [hint for hint in hints(denial, installs(**constraints)) if ROUND in hint]
    assert [f"('{package}', say)" in hint for hint in found_hints] == ([] if package is None else [True])


def test_lint_hints_at_no_rule_that_only_fetches_the_index() -> None:
    only = {"index": {"allowed_values": ["only"]}}
    assert hints(KEEPS_SSL, installs("package_update", **only)) == []
    assert len(hints(KEEPS_SSL, installs("package_update", "package_install", **only))) == 1


def test_lint_hints_where_a_request_lifts_a_bound_though_nothing_is_denied() -> None:
    (hint,) = hints(installs(keep_packages={"default": [SSL]}))
    assert "a request lifts this bound by keep_packages of its own: use required_items" in hint


def test_lint_hints_at_no_rule_for_other_targets() -> None:
    one = rule("installs", "package_install", target_roles=["development"])
    assert hints({**KEEPS_SSL, "target_roles": ["production"]}, one) == []
