"""An update of all packages is no update of the packages that a rule names."""

from typing import Any

import pytest
from tests.rules.asking import World, policy, rule


def effect(given: dict[str, Any], *rules: dict[str, Any]) -> str:
    return World(policy(global_policies=[*rules])).ask("package_update", **given).effect


def by_name(constraint: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    return rule("named", "package_update", parameter_constraints={"package_name": constraint}, **more)


PLAIN = rule("plain", "package_update")


@pytest.mark.parametrize(
    ("rules", "named", "everything"),
    [
        ([PLAIN], "allow", "allow"),
        ([by_name(None)], "allow", "allow"),
        ([by_name({"allowed_values": ["nginx"]})], "allow", "deny"),
        ([by_name({"denied_values": ["linux-image-amd64"]})], "allow", "deny"),
        ([by_name({"pattern": ".*"})], "allow", "deny"),
        ([by_name({"type": "string", "required": False})], "allow", "deny"),
        ([by_name({"allowed_values": ["nginx"], "default": "nginx"})], "allow", "allow"),
        ([PLAIN, by_name({"allowed_values": ["linux-image-amd64"]}, allowed=False)], "allow", "deny"),
        ([PLAIN, by_name({"allowed_values": ["linux-image-amd64"], "required": True}, allowed=False)], "allow", "deny"),
        ([PLAIN, by_name({"allowed_values": ["linux"], "default": "nginx"}, allowed=False)], "allow", "deny"),
    ],
)
def test_package_name_in_a_rule_never_allows_an_update_without_it(
    rules: list[dict[str, Any]], named: str, everything: str
) -> None:
    assert effect({"package_name": "nginx"}, *rules) == named
    assert effect({}, *rules) == everything
    assert effect({"package_name": None}, *rules) == everything


def test_the_reason_names_the_missing_package_name() -> None:
    world = World(policy(global_policies=[by_name({"allowed_values": ["nginx"]})]))
    ruling = world.ask("package_update")
    assert ruling.code == "no_rule"
    assert "package_name.required is nothing, wanted a value" in ruling.reason


def test_default_of_a_rule_does_not_narrow_an_update_that_fetches_the_index() -> None:
    named = by_name({"allowed_values": ["nginx"], "default": "nginx"})
    assert effect({"index": "fetch"}, named) == "deny"
