"""Requests that several patterns match at once: of an allow, a deny and the operation itself."""

import pytest
from tests.rules.asking import ALICE, CATALOGUE, NOON, at, file_of, policy, rule

from writ_contracts.inventory import Target
from writ_rules.analysis.access import AccessQuery, allowed
from writ_rules.analysis.diff import diff
from writ_rules.analysis.question_space import QuestionSpace
from writ_rules.engine.clauses.patterns import pattern
from writ_rules.engine.verbs import verbs
from writ_rules.values.joint_samples import MOST_PATTERNS, joined

WEB = Target(id="web-1", role="production", backend="local", docker={})
SPACE = QuestionSpace(catalogue=CATALOGUE, targets=(WEB,), principals=(ALICE,))
READ = verbs(CATALOGUE)["file_read"]


def reads(allows: str, denies: str) -> list[dict[str, object]]:
    return [
        rule("reads", "file_read", parameter_constraints={"file_path": {"pattern": allows}}),
        rule("secrets", "file_read", allowed=False, parameter_constraints={"file_path": {"pattern": denies}}),
    ]


@pytest.mark.parametrize(
    ("allows", "denies"),
    [
        (".*", r".*(\.env|\.pem|secret).*"),
        (r"/srv/.*\.conf", ".*secret.*"),
        ("/srv/.*", r"[^.]*\.env"),
        ("/(srv|etc)/[a-z]+/.*", ".*(key|token)[^0-9]*"),
    ],
)
def test_request_allowed_and_denied_at_once_is_found(allows: str, denies: str) -> None:
    rules = reads(allows, denies)
    (access,) = allowed(
        policy(global_policies=rules), SPACE, AccessQuery(operations=("file_read",), around=at(NOON))
    ).accesses
    assert (access.allowed, access.denies) == ("sometimes", ["secrets"])
    old, new = file_of(global_policies=rules[:1]), file_of(global_policies=rules)
    (change,) = diff(old, new, SPACE, at(NOON)).changes
    assert (change.kind, change.after) == ("newly_denied", "deny")


def test_each_combination_of_matches_has_one_valid_sample() -> None:
    patterns = tuple(pattern(text, deny=True) for text in ("/srv/.*", ".*secret.*", r".*\.conf"))
    found = joined(READ.hints["file_path"], patterns, ("/a", "no path"))
    ways = [tuple(each.covers(text) for each in patterns) for text in ("/a", *found)]
    assert len(set(ways)) == len(ways) == 2 ** len(patterns)
    assert all(READ.refuses("file_path", text) is None for text in found)


def test_joint_samples_of_many_patterns_are_bounded() -> None:
    patterns = tuple(pattern(f".*{letter}{letter}.*", deny=True) for letter in "abcdefghijklmnopqrstuvwxyz")
    assert len(joined(READ.hints["file_path"], patterns, ("/x",))) < 2**MOST_PATTERNS
