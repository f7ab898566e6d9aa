"""The tree of a policy's rules against the same rules one by one, and the parts an index may leave out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rules import generate
from tests.rules.asking import World, policy, rule
from tests.rules.deciding import compiled, plain, ruling
from tests.rules.generate import PATTERNS

from writ_rules.engine.clauses.case import Case
from writ_rules.engine.clauses.checks import PatternCheck
from writ_rules.engine.clauses.patterns import Glob, Pattern, glob, pattern
from writ_rules.engine.clauses.scopes import ClauseMiss, TargetClause
from writ_rules.engine.decide import Ruling
from writ_rules.engine.matching import index, tree
from writ_rules.engine.matching.literals import beginnings, ending, folded, inside
from writ_testing.each_case import each_case
from writ_testing.exhaustive import some

POLICIES, QUESTIONS, PARTS = 300, 15, 6
MORE_PATTERNS = (
    "web|db", "web(1|2)|db", "web-[a-z]+", "web\\-1", "web?", "we+b", "web{2}", "^web$", "(?i)web", "w(?i)eb", "a|",
    "", "^", "$", "web$|db", "\\Qa|b\\E", "\\x77eb", "[w|d]b", "web\\|db", "wéb.*", "web.", "w*", "web|d+b",
    "(web|db)-1", "(web|d)b?", "(we|d)?b", "(?:we|dd)b", "(?i:we)b", "(we)+b", "(d){2}b", "(web|)", "(web|db)|a",
    "[wW]eb", "[wd]?b", "[w-z]eb", "[we]+b", "[w|d]b|a", "^(web|db)$", "(web)?(-1)?", "(w|d)(e|b)b?", "((we|d)b)",
    "(we)?[dw]b", "(we)??b", "(d|w\\w)b", "(|we)^b", "(\\Qwe\\E|d)b", "[\\w]eb", "(we|d)[b|]", "(web|db)(-[a-z]+)?",
    ".*we.*", ".*w?eb-.*", "(?i).*we.*", "(?i)[wd]e?b", "(?i)wéb", "(?i).*EB", "(?i)w|db", "(?i)NG.*|db", ".*a|b.*",
    "(?i)k",
)  # fmt: skip
TEXTS = ("", "web", "WEB", "wEB", "we", "weeb", "webb", "db", "ddb", "web-abc", "web-1", "web1", "web2", "wb", "|b",
         "web|db", "a", "a|b", "b", "wéb", "wéb-1", "web\n", "/srv/x", "nginx", "ssh", "NGINX", "42",
         "PRIVATE KEY", "\u212a", "K")  # fmt: skip


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
                assert inside(text) in value
                assert_folded(text, value)


def assert_folded(text: str, value: str) -> None:
    known = folded(text)
    if known is None or not value.isascii():
        return
    small = value.lower()
    tests: dict[tuple[bool, bool, bool], Callable[[str], bool]] = {
        (True, False, False): small.__eq__,
        (False, True, False): small.endswith,
        (False, False, True): small.__contains__,
        (False, False, False): small.startswith,
    }
    assert any(tests[one.whole, one.end, one.inside](one.text) for one in known), (text, value)


UNITS = ("a", "b", "(a|b)", "(a|)", "(?:b|ab)", "(?i:a)", "[ab]", "[ab]?", "[^a]", "(a)?", "(b)??", "(a|b)+", "[ab]{2}",
         "(a|(b))", "|", "^", "$", ".*", "a?", "(?i)", "\\b", "\\Qa|\\E", "(A|b)", "[aA]",
         "[^]a[b]", "[]a]")  # fmt: skip
SHORT = ["".join(letters) for length in range(5) for letters in product("abA", repeat=length)]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(UNITS), min_size=1, max_size=5))
def test_each_short_text_that_a_pattern_matches_has_a_known_beginning(units: list[str]) -> None:
    text = "".join(units)
    try:
        made = pattern(text, deny=True)
    except ValueError:
        return  # no pattern of RE2
    known = beginnings(text)
    for value in SHORT:
        if made.covers(value):
            assert known is None or any(
                value == one.text if one.whole else value.startswith(one.text) for one in known
            ), value
            assert value.endswith(ending(text))
            assert inside(text) in value
            assert_folded(text, value)


def test_globs_match_as_their_regular_expressions_do() -> None:
    values = ["".join(letters) for length in range(5) for letters in product("ab\n", repeat=length)]
    for length in range(6):
        for letters in product("ab*", repeat=length):
            made = Glob("".join(letters))
            expected = Pattern(made.text, dot_takes_newline=True)
            for value in values:
                assert made.covers(value) == expected.covers(value), (made, value)


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
        ("(web|db)-.*", [("web-", False), ("db-", False)]),
        ("^(my-)?[wW]eb", [("my-", False), ("web", True), ("Web", True)]),
        ("(a|b)x|c", None),
        ("(a|b)+x", None),
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


@pytest.mark.parametrize("text", ["(?i)/k{}", "(?i).*/k{}", "(?i).*/k{}-.*"])
def test_a_deny_that_ignores_case_takes_letters_outside_ascii_that_fold(text: str) -> None:
    limits = [{"file_path": {"pattern": text.format(number)}} for number in range(20)]
    rules = [rule(f"r{at}", "file_read", allowed=False, parameter_constraints=each) for at, each in enumerate(limits)]
    world = World(policy(global_policies=rules))
    for path in ("/k7-", "/K7-", "/\u212a7-"):
        value = path if text.endswith("-.*") else path.removesuffix("-")
        assert world.ask("file_read", file_path=value).rules == ["r7"]


@pytest.mark.parametrize(
    "pattern", ["(app{0}|old{0})-.*", "(my-)?app{0}-[a-z]+", "[aA]pp{0}-.*", "(?i)APP{0}-.*", ".*app{0}-.*"]
)
def test_decision_considers_only_patterns_that_may_match(monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    limits = [{"service_name": {"pattern": pattern.format(number)}} for number in range(200)]
    rules = [rule(f"r{at}", "service_restart", parameter_constraints=each) for at, each in enumerate(limits)]
    world = World(policy(global_policies=rules))
    matched: list[str] = []

    def counted(self: PatternCheck, value: str) -> bool:
        matched.append(value)
        return original(self, value)

    original = PatternCheck.holds
    monkeypatch.setattr(PatternCheck, "holds", counted)
    assert world.ask(service_name="app77-x").rules == ["r77"]
    assert len(matched) < 10


@pytest.mark.parametrize("text", ["/etc/.*[^]x{}[<>].*", ".*[^]x{}[<>].*", "(?i).*[^]x{}[<>].*", "[]x{}]+.*"])
def test_no_deny_with_a_bracket_first_in_a_class_is_left_out(text: str) -> None:
    limits = [{"content": {"pattern": text.format(number)}} for number in range(12)]
    rules = [rule(f"r{at}", "file_write", allowed=False, parameter_constraints=each) for at, each in enumerate(limits)]
    world = World(policy(global_policies=[rule("all", "file_write"), *rules]))
    for content in ("/etc/qqq", "]/etc"):
        made = [pattern(each["content"]["pattern"], deny=True) for each in limits]
        matching = [f"r{at}" for at, each in enumerate(made) if each.covers(content)]
        asked = world.ask("file_write", file_path="/srv/a", content=content)
        assert asked.rules == (sorted(matching) or ["all"])


@pytest.mark.parametrize("text", ["(a)?" * 1200, "[ab]?" * 1100, "(a|b|c|d|e|f|g|h)?" * 60, "(a|)" * 1000])
def test_a_pattern_of_very_many_leading_choices_is_in_no_index(text: str) -> None:
    assert beginnings(text) is None
    limits = [{"service_name": {"pattern": f"{text}{number}"}} for number in range(12)]
    rules = [rule(f"r{at}", "service_restart", parameter_constraints=each) for at, each in enumerate(limits)]
    assert World(policy(global_policies=rules)).ask(service_name="a7").rules == ["r7"]


def test_parts_of_a_long_text_are_not_looked_up() -> None:
    limits = [{"content": {"pattern": f".*secret-{number}-.*"}} for number in range(20)]
    rules = [rule(f"r{at}", "file_write", allowed=False, parameter_constraints=each) for at, each in enumerate(limits)]
    world = World(policy(global_policies=rules))
    for filler in (1, 400):
        content = "x" * filler + "secret-7-" + "y" * filler
        assert world.ask("file_write", file_path="/srv/a", content=content).rules == ["r7"]


@pytest.mark.parametrize(
    ("glob", "target"),
    [("app{}-*", "app77-1"), ("*-app{}", "eu-app77"), ("?-app{}", "1-app77"), ("*-app{}-*", "eu-app77-1")],
)
def test_decision_considers_only_candidate_rules(monkeypatch: pytest.MonkeyPatch, glob: str, target: str) -> None:
    rules = [rule(f"r{number}", "service_restart", targets=[glob.format(number)]) for number in range(200)]
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
    assert (denied.nearest.rule, len(denied.trace)) == ("r0", 200)
