"""Conditions on the inventory's typed attributes: what is absent, or of another type, never opens a door."""

from typing import Any

import pytest
from tests.rules.asking import World, policy, rule

RESTARTS = rule("restarts", "service_restart")


def asked(wanted: Any, attributes: dict[str, Any], *, allowed: bool) -> str:
    about = {**RESTARTS, "name": "about", "allowed": allowed, "target_attributes": {"tier": wanted}}
    rules = [about] if allowed else [RESTARTS, about]
    return World(policy(global_policies=rules)).ask(target={"attributes": attributes}).code


@pytest.mark.parametrize(
    ("wanted", "value", "holds"),
    [
        ("gold", "gold", True),
        ("gold", "Gold", False),
        (["gold", "silver"], "silver", True),
        ([1, "gold"], 2, False),
        (1, 1.0, True),
        (True, True, True),
        (True, False, False),
        ({"min": 1, "max": 3}, 3, True),
        ({"min": 1, "max": 3}, 4, False),
        ({"type": "float"}, 3, True),
        ({"pattern": "go.*", "max_length": 4}, "gold", True),
        ({"pattern": "go"}, "gold", False),
        ({"allowed_values": ["gold"]}, "gold", True),
        ({"denied_values": ["gold"]}, "gold", False),
    ],
)
def test_an_attribute_is_as_wanted_or_it_is_not(wanted: Any, value: Any, holds: bool) -> None:
    assert asked(wanted, {"tier": value}, allowed=True) == ("allowed" if holds else "no_rule")
    assert asked(wanted, {"tier": value}, allowed=False) == ("denied" if holds else "allowed")


@pytest.mark.parametrize(
    ("wanted", "attributes"),
    [
        ("gold", {}),
        ({"min": 1}, {}),
        ("gold", {"tier": 1}),
        (1, {"tier": True}),
        (["gold", True], {"tier": 1}),
        ({"type": "int"}, {"tier": 1.5}),
        ({"type": "int"}, {"tier": True}),
        ({"min": 1}, {"tier": "gold"}),
        ({"pattern": "1"}, {"tier": 1}),
    ],
)
def test_what_is_absent_or_of_another_type_does_not_match_an_allow_and_errs_in_a_deny(
    wanted: Any, attributes: dict[str, Any]
) -> None:
    assert asked(wanted, attributes, allowed=True) == "no_rule"
    assert asked(wanted, attributes, allowed=False) == "rule_error"


def test_what_fails_for_certain_outweighs_a_check_that_does_not_fit() -> None:
    assert asked({"pattern": "1", "max": 5}, {"tier": 9}, allowed=False) == "allowed"


def test_the_trace_tells_the_attribute_with_both_values() -> None:
    about = {**RESTARTS, "target_attributes": {"tier": ["gold", "silver"]}}
    entry = World(policy(global_policies=[about])).ask(target={"attributes": {"tier": "lead"}}).trace[0]
    assert (entry.clause, entry.wanted, entry.got) == ("target_attributes.tier", 'one of ["gold","silver"]', '"lead"')
