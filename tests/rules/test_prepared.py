"""A policy that another process prepared decides as one compiled from its document."""

from datetime import datetime
from random import Random
from typing import Any

import pytest
from tests.rules import generate, generate_chains
from tests.rules.asking import CATALOGUE, loaded, policy, rule
from tests.rules.deciding import Data, compiled, plain, ruling

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.operations import Catalogue
from writ_documents import yaml_file
from writ_rules.engine.clauses import patterns
from writ_rules.engine.clauses.patterns import KEPT
from writ_rules.engine.clauses.scopes import TargetClause
from writ_rules.engine.compile import Policy
from writ_rules.loading import compile_document
from writ_rules.prepared import policy_in, prepared
from writ_trust.digests import plain_digest

POLICIES, QUESTIONS = 150, 10
DIGEST = plain_digest(b"the document")
GROUPS = {"operations": {"services": ["service_restart", "service_stop"]}, "targets": {"web": ["web-1", "web-*"]}}


def no_pause(_: int) -> None:
    """Compile the next large pattern at once."""


def passed(known: Policy) -> Policy:
    """Return the policy as it comes out of the other process."""
    data = prepared(known, [], DIGEST)
    KEPT.drop_small()
    return policy_in(data, DIGEST, CATALOGUE, no_pause)[0]


def whole(made: Policy, question: Data, facts: Data) -> object:
    """Return all of a decision: its reason, its trace and its advice, too."""
    found = ruling(made, question, facts)
    return plain(found), None if found is None else (found.reason, [*found.trace])


@pytest.mark.parametrize("made", [generate, generate_chains], ids=["rules", "chains"])
def test_prepared_policy_decides_as_the_document_does(made: Any) -> None:
    compared = 0
    for seed in range(POLICIES):
        chance = Random(seed)
        file = made.policy(chance)
        first = compiled(file)
        if first is None:
            continue
        second = passed(first)
        assert (second.rules, second.naming, second.constrained) == (first.rules, first.naming, first.constrained)
        for _ in range(QUESTIONS):
            question = made.question(chance, file)
            facts = generate.facts(chance, datetime.fromisoformat(question["at"]).timestamp())
            assert whole(second, question, facts) == whole(first, question, facts), (seed, question)
            compared += 1
    assert compared > POLICIES * QUESTIONS / 2


def test_prepared_policy_has_groups_disabled_rules_and_what_its_version_is_excused_for() -> None:
    rules = [
        rule("grouped", "group:services", targets=["group:web"]),
        rule("disabled", "service_start", enabled=False),
        rule("denied", "service_stop", allowed=False),
    ]
    text = yaml_file.dump({"policies": {"name": "test", "groups": GROUPS, "global_policies": rules}})
    document = yaml_file.parse(text.encode(), "policy.yaml")
    known, warnings = compile_document(document, CATALOGUE, "permissive")
    data = prepared(known, warnings, DIGEST)
    second, found = policy_in(data, DIGEST, CATALOGUE, no_pause)
    assert (second.rules, found, second.excused) == (2, warnings, known.excused)
    assert {one.name for listed in second.index.values() for one in listed} == {"grouped", "denied"}
    with pytest.raises(ValueError, match="is not kept"):
        prepared(second, [], DIGEST)


def test_small_patterns_are_compiled_on_first_use_and_large_ones_before(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = "onlyhere-[a-z]+", r"onlyhere[\pL]{40}"
    rules = [
        rule(name, "service_restart", parameter_constraints={"service_name": {"pattern": text}})
        for name, text in (("small", small), ("large", large))
    ]
    monkeypatch.setattr(patterns, "KEPT", kept := patterns.KeptPatterns())
    monkeypatch.setattr("writ_rules.prepared.KEPT", kept)
    data = prepared(policy(global_policies=rules), [], DIGEST)
    kept.clear()
    paused = list[int]()
    made, _ = policy_in(data, DIGEST, CATALOGUE, paused.append)
    [(large_one, small_one)] = [
        tuple(rule.conditions["service_restart"][-1].checks[-1].pattern for rule in rules)  # type: ignore[attr-defined]
        for (operation, role), rules in made.index.items()
        if (operation, role) == ("service_restart", "production")
    ]
    assert (large_one.text, small_one.text) == (large, small)
    assert (small_one._match, large_one._match is None) == (None, False)
    assert paused == [large_one.size]
    assert [one.text for one in kept.checked()] == [large], "small ones stay with their policy alone"
    assert small_one.covers("onlyhere-db")
    assert not small_one.covers("elsewhere")


def test_policy_prepared_with_other_plugins_is_refused() -> None:
    evaluated = rule("evaluated", "service_restart", evaluators=["unknown"])
    data = prepared(
        loaded(yaml_file.dump({"policies": {"name": "test", "global_policies": [rule("a", "reboot")]}}), "permissive"),
        [],
        DIGEST,
    )
    broken = data.replace(b"\xaaevaluators\xc0", b"\xaaevaluators\x91\xa7unknown")
    assert broken != data
    assert evaluated["evaluators"] == ["unknown"]
    with pytest.raises(ValueError, match="no evaluator 'unknown'"):
        policy_in(broken, DIGEST, Catalogue(BUILT_IN), no_pause)


def test_policy_prepared_from_another_document_is_refused() -> None:
    data = prepared(policy(global_policies=[rule("a", "service_restart")]), [], DIGEST)
    with pytest.raises(ValueError, match="from another document"):
        policy_in(data, plain_digest(b"another"), CATALOGUE, no_pause)


def test_names_in_several_rules_are_one_object() -> None:
    names = [f"web-{number}" for number in range(3)]
    rules = [rule(f"r{number}", "service_restart", targets=[*names, f"own-{number}"]) for number in range(2)]
    made = passed(policy(global_policies=rules))
    clauses = {id(one): one for listed in made.index.values() for each in listed for one in each.scope}.values()
    ids = [one.ids for one in clauses if isinstance(one, TargetClause)]
    assert len(ids) == len(rules)
    assert len({id(name) for some in ids for name in some if name in names}) == len(names)


def test_no_decision_compiles_too_many_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    made, compile_pattern = list[str](), patterns.Pattern._compile

    def counted(one: patterns.Pattern) -> Any:
        made.append(one.text)
        return compile_pattern(one)

    texts = [f"app{number}[a-z]+" for number in range(3)]
    rules = [rule(text, "service_restart", parameter_constraints={"service_name": {"pattern": text}}) for text in texts]
    KEPT.clear()
    known = policy(global_policies=rules)
    monkeypatch.setattr("writ_rules.prepared.MOST_LATER", KEPT.checked()[0].size * 2)
    monkeypatch.setattr(patterns.Pattern, "_compile", counted)
    passed(known)
    assert made == texts[2:]
