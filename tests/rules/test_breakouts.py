"""Only a rule that names a flag allows the container setting which breaks out by it."""

from typing import Any

import pytest
from tests.rules.asking import World, policy, rule, warned

from writ_documents import yaml_file

PARAMETERS: dict[str, Any] = {"container_name": "web", "image": "nginx"}


def effect(parameters: dict[str, Any], *rules: dict[str, Any], **sections: Any) -> str:
    world = World(policy(require_approval_for_admin=False, global_policies=[*rules], **sections))
    return world.ask("container_create", **PARAMETERS, **parameters).effect


def naming(value: Any) -> dict[str, Any]:
    return rule("named", "container_create", parameter_constraints={"allow_privileged": value})


PLAIN = rule("plain", "container_create")


@pytest.mark.parametrize(
    ("parameters", "rules", "expected"),
    [
        ({}, [PLAIN], "allow"),
        ({"allow_privileged": False}, [PLAIN], "allow"),
        ({"allow_privileged": True}, [PLAIN], "deny"),
        ({"allow_privileged": True}, [naming({"allowed_values": [True, False]})], "allow"),
        ({"allow_privileged": True}, [naming({"allowed_values": [False]})], "deny"),
        ({"allow_privileged": True, "allow_devices": True}, [naming({"type": "bool"})], "deny"),
        ({"allow_privileged": True}, [PLAIN, naming({"type": "bool"})], "allow"),
        ({"allow_privileged": True}, [naming({"type": "bool"}), rule("no", "container_create", allowed=False)], "deny"),
    ],
)
def test_a_flag_needs_a_rule_that_names_it(
    parameters: dict[str, Any], rules: list[dict[str, Any]], expected: str
) -> None:
    assert effect(parameters, *rules) == expected


def test_open_default_allows_no_breakout_flag() -> None:
    assert effect({}, deny_by_default=False) == "allow"
    assert effect({"allow_host_mounts": True}, deny_by_default=False) == "deny"


def test_the_reason_says_which_flag_no_rule_names() -> None:
    world = World(policy(require_approval_for_admin=False, global_policies=[PLAIN]))
    ruling = world.ask("container_create", **PARAMETERS, allow_devices=True)
    assert ruling.code == "no_rule"
    assert "allow_devices.allowed_values is true, expected one of false, since no rule names it" in ruling.reason


def test_a_rule_that_fills_in_a_flag_does_not_open_another_rule() -> None:
    filled = rule(
        "fills",
        "container_create",
        parameter_constraints={"allow_privileged": {"default": True}, "image": {"allowed_values": ["nginx"]}},
    )
    assert effect({}, filled) == "allow"
    assert effect({}, filled, rule("no", "container_create", allowed=False)) == "deny"


def test_a_rule_that_names_a_flag_allows_more_than_one_that_does_not() -> None:
    rules = [PLAIN, naming({"type": "bool"})]
    for order in (rules, rules[::-1]):
        text = yaml_file.dump({"policies": {"name": "test", "global_policies": order}})
        (warning,) = warned(text, "permissive")
        assert warning.endswith("shadowed: 'named' allows all that 'plain' allows")
