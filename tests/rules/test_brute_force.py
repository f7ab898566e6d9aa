"""Analysis of policies, compared by brute force: random requests in the small world.

`diff` must report every change that any request shows, and its own example must show each reported change. No request
may contradict `allowed`. Kinds of requests which the result names as untried (`bounded`) are left out.
"""

from collections.abc import Iterator
from datetime import datetime
from random import Random
from typing import Any

import msgspec
import pytest
from tests.rules import generate
from tests.rules.asking import CATALOGUE
from tests.rules.deciding import CALLERS, TARGETS, Data, compiled, ruling

from writ_contracts.errors import Invalid
from writ_contracts.parameters import breakouts
from writ_rules.analysis.access import AccessQuery, allowed
from writ_rules.analysis.diff import Diff, diff
from writ_rules.analysis.question_space import Example, QuestionSpace
from writ_rules.engine.compile import Policy
from writ_rules.engine.policy_file.format import PolicyDocument
from writ_rules.engine.verbs import offered
from writ_testing.exhaustive import some

SPACE = QuestionSpace(catalogue=CATALOGUE, targets=tuple(TARGETS.values()), principals=tuple(CALLERS.values()))
AROUND = datetime.fromisoformat("2026-11-20T12:00:00Z").timestamp()
NO_FACTS: Data = {"listings": {}, "scans": {}}
FACTUAL = ("scans", "evaluators", "effective_from", "expires_at", "maintenance_windows_only")
KINDS = {
    ("deny", "allow"): "newly_allowed",
    ("deny", "require_approval"): "newly_allowed_with_approval",
    ("allow", "deny"): "newly_denied",
    ("require_approval", "deny"): "newly_denied",
    ("allow", "require_approval"): "newly_needs_approval",
    ("require_approval", "allow"): "no_longer_needs_approval",
}


def plain(value: Any) -> Any:
    """Leave out facts and dates: analysis considers only some weeks."""
    if isinstance(value, dict):
        left = {
            key: each
            for key, each in value.items()
            if key not in (*FACTUAL, "allowlist_source", "max_age", "from", "until")
        }
        return {key: plain(each) for key, each in left.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


def changed(r: Random, file: Data) -> Data:
    """The policy with one rule less, turned round, or another."""
    rules = [rule for rule in file["policies"]["global_policies"] if rule]
    at = r.randrange(len(rules))
    other = r.choice(
        (
            [],
            [rules[at] | {"allowed": not rules[at]["allowed"]}],
            [plain(generate.rule(r, "new", section="global"))],
            [rules[at], plain(generate.rule(r, "new", section="global"))],
        )
    )
    return {"policies": {**file["policies"], "global_policies": [*rules[:at], *other, *rules[at + 1 :]]}}


def questions(r: Random, file: Data, many: int) -> Iterator[Data]:
    """Yield requests within the scope of analysis: real ones of others, without approvals, within weeks."""
    for _ in range(many):
        requested = generate.question(r, file)
        target, operation = TARGETS.get(requested["target"]), CATALOGUE.get(requested["operation"])
        if target and operation and offered(target, operation) and requested["principal"] in CALLERS:
            yield requested | {
                "approvals": [],
                "dry_run": False,
                "own": False,
                "at": f"2026-11-{r.randint(20, 29)}{r.choice(HOURS)}Z",
            }


HOURS = ("T12:00:00", "T07:59:00", "T11:30:00", "T18:00:00", "T23:30:00", "T03:00:00")


def question_of(example: Example) -> Data:
    return {**msgspec.to_builtins(example), "dry_run": False, "own": False}


def effect(policy: Policy, question: Data) -> str:
    found = ruling(policy, question, NO_FACTS)
    return "invalid" if found is None else found.effect


def pairs(seeds: range) -> Iterator[tuple[int, Random, Data, Data, Policy, Policy]]:
    for seed in seeds:
        r = Random(seed)
        old = plain(generate.policy(r))
        new = changed(r, old)
        one, other = compiled(old), compiled(new)
        if one is not None and other is not None:
            yield seed, r, old, new, one, other


def compared(old: Data, new: Data) -> Diff:
    return diff(msgspec.convert(old, PolicyDocument), msgspec.convert(new, PolicyDocument), SPACE, AROUND)


def untried(question: Data, bounded: list[str]) -> bool:
    """Return true if some kinds of such requests were not tried; a pattern without a sample is no excuse here.

    Flags that break out of a container are denied unless a rule names them, and are not tried without such a rule.
    """
    flags = breakouts(CATALOGUE.find(question["operation"]).parameters)
    if any(question["parameters"].get(flag) for flag in flags):
        return True
    return any(question["operation"] in where and "kinds of request" in where for where in bounded)


@pytest.mark.parametrize("part", some(range(12), 0))
def test_diff_shows_every_change_that_a_request_shows(part: int) -> None:
    observed = 0
    for seed, r, old, new, one, other in pairs(range(part * 5, part * 5 + 5)):
        found = compared(old, new)
        reported = {
            (change.kind, change.operation, target, principal)
            for change in found.changes
            for target in change.targets
            for principal in change.principals
        }
        for requested in [*questions(r, old, 150), *questions(r, new, 150)]:
            before, after = effect(one, requested), effect(other, requested)
            if before == after or untried(requested, found.bounded):
                continue
            observed += 1
            expected = (KINDS[before, after], requested["operation"], requested["target"], requested["principal"])
            assert expected in reported, (seed, requested, before, after, reported)
    assert observed > 20


@pytest.mark.parametrize("part", some(range(12), 0))
def test_diff_shows_every_change_by_an_example(part: int) -> None:
    observed = 0
    for seed, _, old, new, one, other in pairs(range(part * 5, part * 5 + 5)):
        for change in compared(old, new).changes:
            requested = question_of(change.example)
            assert (effect(one, requested), effect(other, requested)) == (change.before, change.after), (seed, change)
            observed += 1
    assert observed > 20


@pytest.mark.parametrize("part", some(range(12), 0))
def test_always_and_never_hold_for_every_request(part: int) -> None:
    observed = 0
    for seed, r, old, _, one, _ in pairs(range(part * 4, part * 4 + 4)):
        listing = allowed(one, SPACE, AccessQuery(around=AROUND))
        extents = {
            (access.operation, target, principal): access
            for access in listing.accesses
            for target in access.targets
            for principal in access.principals
        }
        for requested in questions(r, old, 200):
            decided = effect(one, requested)
            if decided == "invalid" or untried(requested, listing.bounded):
                continue
            access = extents[requested["operation"], requested["target"], requested["principal"]]
            possible = {"always": ("allow", "require_approval"), "never": ("deny",)}.get(access.allowed)
            usual = not requested["emergency"] or access.emergency
            assert possible is None or decided in possible or not usual, (seed, requested, access)
            observed += 1
    assert observed > 200


def test_an_unknown_principal_is_no_answer() -> None:
    policy = compiled({"policies": {"global_policies": []}})
    assert policy is not None
    with pytest.raises(Invalid):
        allowed(policy, SPACE, AccessQuery(principal="mallory"))
