"""Limits on how many at once: obligations of the decision, which executors keep."""

from tests.rules.asking import World, policy, rule

from writ_contracts.decisions import RuleLimit

LIMITED = rule("limited", "service_restart", max_concurrent=2, max_targets=3)


def test_a_rule_that_allows_brings_its_limits() -> None:
    ruling = World(policy(global_policies=[LIMITED])).ask()
    assert ruling.effect == "allow"
    assert ruling.limits == [RuleLimit("limited", "max_concurrent", 2), RuleLimit("limited", "max_targets", 3)]


def test_the_limits_of_all_rules_that_allow_hold_the_gateways_too() -> None:
    gateway = [rule("behind", "service_restart", max_targets=1)]
    world = World(policy(global_policies=[LIMITED], role_policies={"gateway": gateway}))
    assert {limit.rule for limit in world.ask(target={"gateway": "gw-1"}).limits} == {"limited", "behind"}


def test_a_rule_that_does_not_match_limits_nothing() -> None:
    other = rule("other", "service_restart", users=["bob"], max_concurrent=1)
    assert {limit.rule for limit in World(policy(global_policies=[LIMITED, other])).ask().limits} == {"limited"}
