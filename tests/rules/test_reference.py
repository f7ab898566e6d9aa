"""The engine against the reference evaluator, which was written from docs/policy.md alone, on random input."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from tests.rules import generate, generate_chains, reference
from tests.rules.asking import NOON, rule
from tests.rules.deciding import Data, compiled, plain, ruling
from tests.rules.small_world import INVENTORY, PRINCIPALS

from writ_rules.engine import decide as engine
from writ_testing.exhaustive import some

QUESTIONS = 20
POLICIES = 1000
PARTS = 4
CHAINED = 40
LONGEST = 285
OFTEN = {
    "allowed": 500,
    "approved": 100,
    "approval_required": 200,
    "allowed_by_default": 150,
    "own": 20,
    "denied": 300,
    "rule_error": 150,
    "facts_needed": 10,
    "no_rule": 1000,
    "outside_gateway_limits": 1,
    "dry_run_disabled": 100,
    "policy_inactive": 1,
    "invalid": 100,
}
"""Of 5,000 cases; fewer would mean that the generators have gone astray. Few policies are inactive; all of the 20
questions to such a policy are then.
"""


def cases(
    seed: int, questions: int = QUESTIONS, *, chained: bool = False
) -> Iterator[tuple[Data, Data, Data, Data, Data]]:
    """Yield policy, question, facts, the reference's decision and the engine's decision."""
    r, made = Random(seed), generate_chains if chained else generate
    file = made.policy(r)
    policy = compiled(file)
    files = {"policy": file, "inventory": INVENTORY, "principals": PRINCIPALS}
    if policy is None:
        return
    for _ in range(questions):
        requested = made.question(r, file)
        facts = generate.facts(r, datetime.fromisoformat(requested["at"]).timestamp())
        yield file, requested, facts, reference.answer(files, requested, facts), plain(ruling(policy, requested, facts))


@pytest.mark.parametrize("part", some(range(PARTS), 0))
def test_engine_and_reference_agree(part: int) -> None:
    met = Counter[str]()
    for seed in range(part * POLICIES // PARTS, (part + 1) * POLICIES // PARTS):
        for file, requested, facts, expected, got in cases(seed):
            assert got == expected, (seed, requested, facts, file)
            met[expected.get("code", "invalid")] += 1
    assert sum(met.values()) == QUESTIONS * POLICIES / PARTS
    assert {code: met[code] for code, least in OFTEN.items() if met[code] < least} == {}, met


def test_engine_and_reference_agree_where_rules_match_by_defaults_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count how often the engine judges all rules of a question: once more for each round of defaults."""
    rounds, by_rules = Counter[int](), engine._by_rules

    def counted(*arguments: Any, **keys: Any) -> Any:
        rounds[0] += 1
        return by_rules(*arguments, **keys)

    monkeypatch.setattr(engine, "_by_rules", counted)
    met = Counter[int]()
    for seed in range(CHAINED):
        for file, requested, facts, expected, got in cases(seed, chained=True):
            assert got == expected, (seed, requested, facts, file)
            met[rounds.pop(0, 0)] += 1
    assert (met[2] > 250, met[3] > 25) == (True, True), met


@pytest.mark.parametrize("denied", ["root", "nobody"])
def test_engine_and_reference_agree_on_a_default_of_a_rule_that_matches_by_another_default(denied: str) -> None:
    no_user = {"user": {"required": True, "allowed_values": [denied]}}
    is_root = {"user": {"required": True, "allowed_values": ["root"]}}
    rules = [
        rule("fills", "container_create", parameter_constraints={"timeout": {"default": 200}}, operation_timeout=100),
        rule("long", "container_create", parameter_constraints={"timeout": {"min": 190}, "user": {"default": "root"}}),
        rule("as-root", "container_create", parameter_constraints=is_root, operation_timeout=30),
        rule("no-user", "container_create", allowed=False, parameter_constraints=no_user),
    ]
    file = {"policies": {"name": "chained", "global_policies": rules}}
    requested: Data = {"principal": "alice", "operation": "container_create", "target": "web-1", "at": NOON}
    requested |= {"parameters": {"container_name": "web", "image": "nginx"}, "approvals": []}
    requested |= dict.fromkeys(("emergency", "dry_run", "own"), False)
    facts: Data = {"listings": {}, "scans": {}}
    expected = reference.answer({"policy": file, "inventory": INVENTORY, "principals": PRINCIPALS}, requested, facts)
    policy = compiled(file)
    assert policy is not None
    assert plain(ruling(policy, requested, facts)) == expected
    assert (expected["decision"], expected["timeout"]) == (("deny", None) if denied == "root" else ("allow", 30))


def test_the_reference_is_short_and_imports_nothing_of_the_engine() -> None:
    source = Path(reference.__file__).read_text()
    assert source.count("\n") <= LONGEST, "what `wc -l` counts: blank lines and docstrings too"
    assert "writ_rules" not in source
