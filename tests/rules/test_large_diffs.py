"""Differences of large policies: all are found, and the work grows with the number of rules, not with its square."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.rules.asking import CATALOGUE, rule
from tests.rules.test_diff import compared, constrained

from writ_rules.analysis import parameter_values, questions, scope_index
from writ_rules.analysis.question_space import QuestionSpace
from writ_rules.engine.clauses.patterns import Pattern
from writ_rules.engine.decide import Ruling, decide


def test_a_value_is_not_compared_with_every_pattern_that_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[bool | None] = []

    def counted(clause: Any, case: Any) -> bool | None:
        judged.append(holds(clause, case))
        return judged[-1]

    def named(most: int, many: int) -> list[dict[str, Any]]:
        constraints = [{"service_name": {"pattern": f"app{number}-[a-z]+"}} for number in range(many)]
        return [constrained(f"r{number}", **one, timeout={"max": most}) for number, one in enumerate(constraints)]

    holds = scope_index.holds
    monkeypatch.setattr(scope_index, "holds", counted)
    counts = []
    for many in (20, 80):
        judged.clear()
        found = compared(named(60, many), named(61, many)).changes
        assert len({name for one in found for name in one.changed}) == many
        counts.append(len(judged))
    assert counts[1] < 8 * counts[0], counts  # 12 times, if every value meets every pattern


@pytest.mark.parametrize(
    "scope",
    [
        lambda number: {"targets": [f"app{number}-*"]},
        lambda number: {"target_tags": [f"app{number}"]},
        lambda number: {"target_attributes": {"app": f"app{number}"}},
        lambda number: {"users": [f"user{number}"]},
        lambda number: {"user_roles": [f"team{number}"]},
    ],
)
def test_a_scope_is_not_compared_with_every_target_and_principal(
    monkeypatch: pytest.MonkeyPatch, scope: Callable[[int], dict[str, Any]]
) -> None:
    judged: list[object] = []

    def counted(clause: Any, case: Any) -> bool | None:
        judged.append(clause)
        return holds(clause, case)

    def scoped(many: int, **keys: Any) -> list[dict[str, Any]]:
        return [{**rule(f"r{number}", "service_stop"), **scope(number), **keys} for number in range(many)]

    holds = scope_index.holds
    monkeypatch.setattr(scope_index, "holds", counted)
    counts = []
    for many in (20, 80):
        judged.clear()
        found = compared(scoped(many), scoped(many, allowed=False), QuestionSpace(catalogue=CATALOGUE)).changes
        assert {name for one in found for name in one.changed} == {f"r{number}" for number in range(many)}
        counts.append(len(judged))
    assert counts[1] < 8 * counts[0], counts  # 16 times, if every scope meets every target and principal


@pytest.mark.parametrize(
    ("before", "after"),
    [({}, {"allowed": False}), ({"approval": {"approvers": ["lead"]}}, {"approval": {"approvers": ["security"]}})],
)
def test_rules_that_differ_by_users_and_by_targets_are_decided_once(
    monkeypatch: pytest.MonkeyPatch, before: dict[str, Any], after: dict[str, Any]
) -> None:
    made: list[object] = []

    def counted(*arguments: Any) -> Ruling:
        made.append(arguments)
        return decide(*arguments)

    def mixed(many: int, **keys: Any) -> list[dict[str, Any]]:
        scopes = [{"users": [f"u{at}"]} if at % 2 else {"targets": [f"app{at}-*"]} for at in range(many)]
        return [{**rule(f"r{at}", "service_stop"), **one, **keys} for at, one in enumerate(scopes)]

    monkeypatch.setattr(questions, "decide", counted)
    counts = []
    for many in (40, 80):
        made.clear()
        found = compared(mixed(many, **before), mixed(many, **after), QuestionSpace(catalogue=CATALOGUE))
        assert {name for one in found.changes for name in one.changed} == {f"r{at}" for at in range(many)}
        counts.append((found.compared, len(made)))
    assert counts[0][0] == counts[1][0]
    assert counts[1][1] < 3 * counts[0][1], (
        counts
    )  # 4 times, if each rule of one half is decided with each of the other


@pytest.mark.parametrize("key", ["users", "targets"])
def test_every_changed_rule_gets_a_synthetic_principal_and_target(key: str) -> None:
    def named(**keys: Any) -> list[dict[str, Any]]:
        return [{**rule(f"r{number}", "service_stop"), key: [f"app{number}"], **keys} for number in range(700)]

    found = compared(named(), named(allowed=False), QuestionSpace(catalogue=CATALOGUE))
    assert {name for one in found.changes for name in one.changed} == {f"r{number}" for number in range(700)}
    assert found.unreached == []


@pytest.mark.parametrize("pattern", ["app{}-[a-z]+", "[a-z]*app{}-api", "app{0}|old{0}|app{0}-.*"])
def test_a_pattern_is_matched_only_with_texts_that_it_may_match(monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    matched: list[str] = []

    def counted(self: Pattern, text: str) -> bool:
        matched.append(text)
        return covers(self, text)

    def named(many: int, **keys: Any) -> list[dict[str, Any]]:
        constraints = [{"service_name": {"pattern": pattern.format(number)}} for number in range(many)]
        return [{**constrained(f"r{number}", **one), **keys} for number, one in enumerate(constraints)]

    covers = Pattern.covers
    monkeypatch.setattr(Pattern, "covers", counted)
    counts = []
    for many in (40, 160):
        matched.clear()
        found = compared(named(many), named(many, allowed=False)).changes
        assert {name for one in found for name in one.changed} == {f"r{number}" for number in range(many)}
        counts.append(len(matched))
    assert counts[1] < 8 * counts[0], counts  # 16 times, if every text meets every pattern


def test_a_pattern_with_literals_within_it_has_texts_that_tell_it() -> None:
    def named(**keys: Any) -> list[dict[str, Any]]:
        patterns = {f"r{number}": f"[a-z]+app{number}-.*" for number in range(12)}
        return [{**constrained(name, service_name={"pattern": text}), **keys} for name, text in patterns.items()]

    found = compared(named(), named(allowed=False))
    assert {name for one in found.changes for name in one.changed} == {f"r{number}" for number in range(12)}
    assert not [note for note in found.bounded if note.endswith("' matches")]


def test_the_values_for_conditions_of_one_content_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(verb: Any, name: str, *rest: Any) -> Any:
        calls.append(name)
        return distinct(verb, name, *rest)

    def own(**keys: Any) -> list[dict[str, Any]]:
        rules = (constrained(f"r{at}", timeout={"max": 10 + at % 3}) for at in range(30))
        return [{**one, "targets": [f"app{at}-*"], **keys} for at, one in enumerate(rules)]

    distinct = parameter_values._distinct
    monkeypatch.setattr(parameter_values, "_distinct", counted)
    found = compared(own(), own(allowed=False), QuestionSpace(catalogue=CATALOGUE))
    assert {name for one in found.changes for name in one.changed} == {f"r{at}" for at in range(30)}
    assert calls == ["timeout"] * 3
