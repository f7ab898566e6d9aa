"""Patterns with large programs: a file has a bound on them, and so has the memory for those that are kept."""

import pytest
from tests.rules.asking import World, loaded, policy, refused, rule

from writ_documents import yaml_file
from writ_rules.engine.clauses import patterns
from writ_rules.engine.clauses.patterns import KeptPatterns, Pattern, pattern
from writ_rules.engine.rules import pattern_sizes

LARGE, TOO_LARGE, ORDINARY = r"[\pL]{20}x%d", r"[\pL]{1000}x%d", "app%d-[a-z0-9]{1,8}"


def file_with(text: str, many: int) -> str:
    rules = [
        rule(f"r{number}", "service_restart", parameter_constraints={"service_name": {"pattern": text % number}})
        for number in range(many)
    ]
    return yaml_file.dump({"policies": {"name": "test", "global_policies": rules}})


@pytest.mark.parametrize("text", [LARGE, TOO_LARGE], ids=["large", "refused_by_re2"])
def test_file_with_many_large_patterns_is_refused_at_the_first_beyond_the_bound(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    compiled = list[str]()

    def counted(text: str, *, deny: bool) -> Pattern:
        compiled.append(text)
        return pattern(text, deny=deny)

    monkeypatch.setattr(pattern_sizes, "MOST_IN_FILE", 100_000)
    monkeypatch.setattr(pattern_sizes, "pattern", counted)
    [problem] = refused(file_with(text, 50), "permissive")
    assert "too large together" in problem
    assert len(compiled) <= 5


def test_ordinary_patterns_and_a_single_large_one_stay_allowed() -> None:
    loaded(file_with(ORDINARY, 40), "permissive")
    limits = {"service_name": {"pattern": r"[\pL]{1,64}"}}
    world = World(policy(global_policies=[rule("a", "service_restart", parameter_constraints=limits)]))
    assert world.ask(service_name="nginx").effect == "allow"


def test_patterns_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "MOST_KEPT", 3 * patterns.OVERHEAD + 100)
    kept = KeptPatterns()
    first = kept.find("a1", deny=False)
    assert kept.find("a1", deny=False) is first
    assert kept.find("a1", deny=True) is not first
    for number in range(2, 5):
        kept.find(f"a{number}", deny=False)
    assert kept.find("a1", deny=False) is not first
