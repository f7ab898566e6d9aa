"""The tree of a policy's rules against the same rules one by one, and the parts an index may leave out."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from unittest.mock import patch

import pytest
from tests.rules import generate
from tests.rules.asking import World, policy, rule
from tests.rules.deciding import compiled, plain, ruling
from tests.rules.generate import PATTERNS

from writ_rules.engine.clauses.case import Case
from writ_rules.engine.clauses.patterns import glob, pattern
from writ_rules.engine.clauses.scopes import ClauseMiss, TargetClause
from writ_rules.engine.decide import Ruling
from writ_rules.engine.matching import index, tree
from writ_rules.engine.matching.literals import beginnings, ending
from writ_testing.each_case import each_case
from writ_testing.exhaustive import some

POLICIES, QUESTIONS, PARTS = 300, 15, 6
MORE_PATTERNS = (
    "web|db", "web(1|2)|db", "web-[a-z]+", "web\\-1", "web?", "we+b", "web{2}", "^web$", "(?i)web", "w(?i)eb", "a|",
    "", "^", "$", "web$|db", "\\Qa|b\\E", "\\x77eb", "[w|d]b", "web\\|db", "wéb.*", "web.", "w*", "web|d+b",
)  # fmt: skip
TEXTS = ("", "web", "WEB", "wEB", "we", "weeb", "webb", "db", "ddb", "web-abc", "web-1", "web1", "web2", "wb", "|b",
         "web|db", "a", "a|b", "b", "wéb", "wéb-1", "web\n", "/srv/x", "nginx", "ssh", "NGINX", "42",
         "PRIVATE KEY")  # fmt: skip


@contextmanager
def always_a_tree() -> Iterator[None]:
    with patch.object(tree, "FEW", 0), patch.object(index, "FEW", 0):
        yield


@contextmanager
def never_a_tree() -> Iterator[None]:
    with patch.object(tree, "FEW", 1_000_000):
        yield


def everything(found: Ruling | None) -> object:
    return plain(found), found and (found.reason, found.nearest, found.opens_at, found.trace)


@pytest.mark.parametrize("part", some(range(PARTS), 0))
def test_a_tree_decides_as_its_rules_one_by_one(part: int) -> None:
    compared = 0
    for seed in range(part * POLICIES // PARTS, (part + 1) * POLICIES // PARTS):
        r = Random(seed)
        file = generate.policy(r)
        with always_a_tree():
            grown = compiled(file)
        with never_a_tree():
            flat = compiled(file)
        if grown is None or flat is None:
            continue
        for _ in range(QUESTIONS):
            requested = generate.question(r, file)
            facts = generate.facts(r, generate.moment(r).timestamp())
            assert everything(ruling(grown, requested, facts)) == everything(ruling(flat, requested, facts)), (
                seed,
                requested,
            )
            compared += 1
    assert compared > POLICIES / PARTS * QUESTIONS * 3 / 4


@each_case("text", [*PATTERNS, *MORE_PATTERNS])
def test_text_that_matches_a_pattern_has_its_literal_prefix_and_suffix(text: str) -> None:
    known = beginnings(text)
    for deny in (False, True):
        for value in TEXTS:
            if pattern(text, deny=deny).covers(value) and known is not None:
                assert any(value == one.text if one.whole else value.startswith(one.text) for one in known), value
            if pattern(text, deny=deny).covers(value):
                assert value.endswith(ending(text)), value


@each_case(
    ("text", "known"),
    [
        (".*-web", "-web"),
        ("[a-z]+-api$", "-api"),
        (".*\\.example", ".example"),
        (".*web?", ""),
        ("a(b)c", ""),
        ("x|.*web", ""),
        ("(?i).*web", ""),
        ("\\d+web", ""),
        (".*\\Qweb", ""),
        (glob("*-db.?x").text, "x"),
        (glob("*-db").text, "-db"),
    ],
)
def test_suffix_of_a_pattern_is_recognised(text: str, known: str) -> None:
    assert ending(text) == known


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("web", [("web", True)]),
        ("^web-[0-9]+$", [("web-", False)]),
        ("web|db.*", [("web", True), ("db", False)]),
        ("/srv/app\\.d/.*", [("/srv/app.d/", False)]),
        ("ab?", [("a", False)]),
        (".*", None),
        ("(?i)web", None),
        (glob("web-*").text, [("web-", False)]),
        (glob("web.?").text, [("web.", False)]),
    ],
)
def test_values_of_a_pattern_are_recognised(text: str, known: list[tuple[str, bool]] | None) -> None:
    found = beginnings(text)
    assert (found and [(one.text, one.whole) for one in found]) == known


def test_undecidable_clause_is_never_left_out() -> None:
    """A value of another kind, or none, is an error in a deny: an index without it would let it pass."""
    expected = [{"target_attributes": {"tier": f"t{number}"}} for number in range(20)]
    rules = [rule(f"no-{at}", "service_restart", allowed=False, **keys) for at, keys in enumerate(expected)]
    world = World(policy(global_policies=[rule("restarts", "service_restart"), *rules]))
    assert world.ask(target={"attributes": {"tier": "t7"}}).rules == ["no-7"]
    assert world.ask(target={"attributes": {"tier": "x"}}).effect == "allow"
    assert world.ask(target={"attributes": {"tier": 7}}).code == "rule_error"
    assert world.ask().code == "rule_error"


@pytest.mark.parametrize(("glob", "target"), [("app{}-*", "app77-1"), ("*-app{}", "eu-app77"), ("?-app{}", "1-app77")])
def test_decision_considers_only_candidate_rules(monkeypatch: pytest.MonkeyPatch, glob: str, target: str) -> None:
    rules = [rule(f"r{number}", "service_restart", targets=[glob.format(number)]) for number in range(2_000)]
    world = World(policy(global_policies=rules))
    requested: list[str] = []

    def counted(self: TargetClause, case: Case) -> ClauseMiss | None:
        requested.append(case.target)
        return original(self, case)

    original = TargetClause.miss
    monkeypatch.setattr(TargetClause, "miss", counted)
    assert world.ask(target={"id": target}).rules == ["r77"]
    assert len(requested) < 10
    denied = world.ask(target={"id": "other"})
    assert denied.nearest is not None
    assert (denied.nearest.rule, len(denied.trace)) == ("r0", 2_000)
