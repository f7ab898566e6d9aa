"""Mutants of a policy, each with one change, and the cases of a good suite that notice them."""

from tests.rules.asking import CATALOGUE, file_of, rule
from tests.rules.mutants import mutants

from writ_rules.engine.compile import compile_policy

FILE = file_of(
    global_policies=[
        rule("restart", "service_restart", user_roles=["operator"], requires_approval=True),
        rule("no-ssh", "service_restart", allowed=False, parameter_constraints={"service_name": {"pattern": "ssh"}}),
        rule("off", "service_stop", enabled=False),
    ],
    role_policies={"staging": [rule("status", "service_status", target_roles=["staging"])]},
)


def test_each_rule_is_dropped_turned_round_left_without_approval_and_widened() -> None:
    assert [str(mutant) for mutant in mutants(FILE)] == [
        "'restart' dropped",
        "'restart' flipped",
        "'restart' approval dropped",
        "'restart' widened: without user_roles",
        "'no-ssh' dropped",
        "'no-ssh' flipped",
        "'no-ssh' widened: without parameter_constraints.service_name",
        "'status' dropped",
        "'status' flipped",
    ]


def test_a_mutant_is_the_policy_with_that_one_change_and_still_compiles() -> None:
    for mutant in mutants(FILE):
        assert mutant.file != FILE
        assert compile_policy(mutant.file, CATALOGUE)[0] is not None
    dropped = next(mutants(FILE, ("dropped",)))
    assert dropped.file.policies.global_policies == [None, *(FILE.policies.global_policies or [])[1:]]
