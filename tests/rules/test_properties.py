"""Properties of every policy that loads and every request that the catalogue accepts."""

import json
import os
import subprocess
import sys
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from tests.rules import generate
from tests.rules.asking import World, policy, rule
from tests.rules.deciding import Data, compiled, plain, ruling
from tests.rules.small_world import ROLES

from writ_rules.engine.compile import Policy
from writ_rules.engine.decide import STRICTNESS, Ruling

SEEDS = st.integers(0, 2**48)
QUESTIONS = 12


def policy_of(file: Data) -> Policy:
    found = compiled(file)
    if found is None:
        reject()
    return found


def drawn_questions(r: Random, file: Data, questions: int = QUESTIONS) -> list[tuple[Data, Data]]:
    """Questions with their facts."""
    found = [generate.question(r, file) for _ in range(questions)]
    return [(each, generate.facts(r, datetime.fromisoformat(each["at"]).timestamp())) for each in found]


def answers(file: Data, questions: list[tuple[Data, Data]]) -> list[Ruling | None]:
    policy = policy_of(file)
    return [ruling(policy, *question) for question in questions]


def strictness(answer: Ruling | None) -> int:
    return -1 if answer is None else STRICTNESS[answer.effect]


def with_rule(file: Data, section: str, rule: Data) -> Data:
    """The policy with one rule more."""
    policy = file["policies"]
    if section in ROLES:
        roles = dict(policy["role_policies"])
        roles[section] = [*(roles.get(section) or []), rule]
        return {"policies": {**policy, "role_policies": roles}}
    key = f"{section}_policies"
    return {"policies": {**policy, key: [*(policy.get(key) or []), rule]}}


def shuffled(r: Random, value: Any) -> Any:
    """The same in another order: rules, sections, keys, lists; but for the two in which the order is the meaning."""
    if isinstance(value, dict):
        items = [(key, each if key in ("steps", "default") else shuffled(r, each)) for key, each in value.items()]
        return dict(r.sample(items, len(items)))
    if isinstance(value, list):
        return r.sample([shuffled(r, each) for each in value], len(value))
    return value


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_order_of_rules_and_lists_does_not_change_a_decision(seed: int) -> None:
    r = Random(seed)
    file = generate.policy(r)
    questions = drawn_questions(r, file)
    one, other = answers(file, questions), answers(shuffled(r, file), questions)
    assert [plain(each) for each in one] == [plain(each) for each in other]


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.sampled_from(["global", "emergency", *ROLES]))
def test_adding_a_deny_never_widens(seed: int, section: str) -> None:
    r = Random(seed)
    file = generate.policy(r)
    questions = drawn_questions(r, file)
    deny = generate.rule(r, "more", section=section) | {"allowed": False}
    before, after = answers(file, questions), answers(with_rule(file, section, deny), questions)
    assert all(strictness(one) <= strictness(other) for one, other in zip(before, after, strict=True))


NARROWS = ("requires_approval", "approval", "operation_timeout", "max_concurrent", "max_targets", "scans")
"""Keys of an allow rule by which it may narrow: demands and limits, and what may be impossible to judge."""


def harmless(r: Random, section: str) -> Data:
    """Return an allow rule without errors, demands, defaults and limits."""
    found = generate.rule(r, "more", section=section) | {"allowed": True}
    found = {key: value for key, value in found.items() if key not in NARROWS}
    if "parameter_constraints" in found:
        found["parameter_constraints"] = {"timeout": {"type": "int", "max": r.choice((5, 60, 200))}}
    return found | ({"inherit": False} if section == "gateway" else {})


@settings(max_examples=50, deadline=None)
@given(SEEDS, st.sampled_from(["global", "emergency", *ROLES]))
def test_adding_an_allow_that_only_allows_never_narrows(seed: int, section: str) -> None:
    """docs/policy.md states this under "Adding a rule"; each exception has its test below."""
    r = Random(seed)
    file = generate.policy(r)
    file["policies"].pop("deny_by_default", None)
    questions = drawn_questions(r, file)
    before, after = answers(file, questions), answers(with_rule(file, section, harmless(r, section)), questions)
    assert all(strictness(one) >= strictness(other) for one, other in zip(before, after, strict=True))


ALLOWS = rule("allows", "service_restart")


@pytest.mark.parametrize(
    ("more", "section", "effect"),
    [
        ({"requires_approval": True}, "global", "require_approval"),
        ({"approval": {}}, "global", "require_approval"),
        ({"parameter_constraints": {"timeout": {"default": 5}}}, "global", "deny"),
        ({"scans": [{"scanner": "vulnerabilities"}]}, "global", "deny"),
        ({"parameter_constraints": {"service_name": {"min": 1}}}, "global", "deny"),
        ({"parameter_constraints": {"service_name": {"allowlist_source": "list_services"}}}, "global", "deny"),
        ({"parameter_constraints": {"timeout": {"max": 1}}}, "gateway", "deny"),
        ({"requires_approval": True}, "emergency", "require_approval"),
    ],
)
def test_an_allow_narrows_by_what_it_demands_fills_in_restricts_or_cannot_judge(
    more: Data, section: str, effect: str
) -> None:
    fills = ALLOWS | {"parameter_constraints": {"timeout": {"default": 7}}}
    file: Data = {"policies": {"global_policies": [fills], "role_policies": {}}}
    question: Data = {
        "principal": "alice",
        "operation": "service_restart",
        "target": "web-2",
        "at": "2026-11-24T12:00:00Z",
    }
    question |= {"parameters": {"service_name": "nginx"}, "approvals": [], "dry_run": False, "own": False}
    questions: list[tuple[Data, Data]] = [
        (question | {"emergency": section == "emergency"}, {"listings": {}, "scans": {}})
    ]
    before, after = (
        answers(file, questions),
        answers(with_rule(file, section, ALLOWS | {"name": "more"} | more), questions),
    )
    assert [each and each.effect for each in (*before, *after)] == ["allow", effect]


def test_new_allow_narrows_an_open_default() -> None:
    late = ALLOWS | {"time_restrictions": [{"start_time": "23:00"}]}
    opened = World(policy(deny_by_default=False, global_policies=[]))
    assert opened.ask().code == "allowed_by_default"
    assert World(policy(deny_by_default=False, global_policies=[late])).ask().code == "no_rule"


@settings(max_examples=50, deadline=None)
@given(SEEDS)
def test_nothing_is_allowed_without_a_rule_that_allows_it_or_a_default_that_is_open(seed: int) -> None:
    r = Random(seed)
    file = generate.policy(r)
    for answer in filter(None, answers(file, drawn_questions(r, file))):
        if answer.effect != "deny" and answer.code != "own":
            assert answer.rules or file["policies"].get("deny_by_default") is False
            assert set(answer.rules) <= {entry.rule for entry in answer.trace if entry.matched}
        if answer.code in ("denied", "rule_error", "facts_needed"):
            assert answer.rules


def everything(seeds: range) -> str:
    """Return a digest of all decisions and reasons for these seeds."""
    reply = []
    for seed in seeds:
        r = Random(seed)
        file = generate.policy(r)
        if (found := compiled(file)) is not None:
            for question in drawn_questions(r, file):
                answer = ruling(found, *question)
                reply.append(
                    [plain(answer), answer and [answer.reason, *map(repr, answer.trace), *map(repr, answer.demands)]]
                )
    return sha256(json.dumps(reply, sort_keys=True, default=sorted).encode()).hexdigest()


@pytest.mark.exhaustive
def test_the_hash_seed_does_not_matter() -> None:
    """Sets and dicts are walked in another order in each of these processes; decisions, reasons and traces are not."""
    digests = {
        subprocess.run(
            [sys.executable, "-m", "tests.rules.test_properties"],
            capture_output=True,
            check=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONHASHSEED": seed},
            text=True,
            timeout=100,
        ).stdout
        for seed in ("0", "1", "4711")
    }
    assert len(digests) == 1
    assert digests == {everything(range(60)) + "\n"}


if __name__ == "__main__":
    print(everything(range(60)))
