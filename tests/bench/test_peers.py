"""`make bench-peers` compares equal work and writes its own measurements. These tests need no peer."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from bench.peers import by_writ, in_process, model, report
from bench.peers.engine import Engine, Loaded, Missing, Refused
from bench.peers.figures import Figures, Gap, Row, Unequal, saved
from tests.rules.asking import loaded

RULES = model.rules(10)


class Peer:
    """An engine of another kind with scripted answers, or an absent one."""

    name = "Peer"
    answer = "answers"

    def __init__(self, ask: Callable[[Any], bool] = lambda _: False, error: Exception | None = None) -> None:
        self._ask, self._error = ask, error

    def load(self, rules: Sequence[model.Rule]) -> Loaded:
        if self._error is not None:
            raise self._error
        return Loaded(lambda question: question, self._ask)


def by_definition(question: model.Question) -> bool:
    return model.answers(RULES, [question])[0]


def row(**keys: Any) -> Row:
    values = {"engine": "Writ", "rules": 10, "p50": 5.04, "p99": 1234.5, "load": 0.25, "requests": 2000, "allowed": 300}
    return Row(**{**values, **keys})


FIGURES = Figures(
    python="3.11",
    cores=2,
    answers={"Writ": "answers with a trace"},
    versions={"peer": "1.2"},
    in_process=[row(), row(rules=1000, p50=7.0), row(engine="Peer", rules=1000, p50=900.0, requests=100)],
    gaps=[Gap(engine="Other", rules=0, why="it is not installed")],
)


def test_the_drawn_rules_are_a_policy_file_without_a_mistake() -> None:
    assert loaded(by_writ.policy_file(RULES)).rules == 10


def test_the_drawn_questions_are_allowed_denied_and_left_to_the_default() -> None:
    questions = model.questions(RULES, 2_000)
    allowed = sum(model.answers(RULES, questions))
    aimed = {(rule.operation, rule.target, rule.caller) for rule in RULES if not rule.allowed}
    assert 200 < allowed < 1_000
    assert any((each.operation, each.target, each.caller) in aimed for each in questions)
    assert {each.operation for each in questions} == set(model.OPERATIONS)


def test_our_engine_and_another_are_compared_and_timed() -> None:
    rows, gaps = in_process.measure(10, [by_writ.InProcess(), Peer(by_definition)])
    assert [(each.engine, each.requests) for each in rows] == [("Writ", 2000), ("Peer", 2000)]
    assert gaps == []


def test_an_engine_that_decides_otherwise_ends_the_measurement() -> None:
    with pytest.raises(Unequal, match=r"Peer: \d+ of 2000 decisions are wrong"):
        in_process.measure(10, [by_writ.InProcess(), Peer(lambda _: False)])


@pytest.mark.parametrize(("error", "size"), [(Missing("not here"), 0), (Refused("not so many"), 10)])
def test_an_engine_that_cannot_be_measured_is_named_with_the_reason(error: Exception, size: int) -> None:
    engines: list[Engine] = [Peer(error=error), by_writ.InProcess()]
    rows, gaps = in_process.measure(10, engines)
    assert [each.engine for each in rows] == ["Writ"]
    assert gaps == [Gap(engine="Peer", rules=size, why=str(error))]


def test_the_tables_hold_what_was_measured_and_what_was_not() -> None:
    text = report.tables(FIGURES)
    assert "| in process | 10 rules | 1,000 rules | 1,000 rules read in, s |" in text
    assert "| Writ | 5.0 / 1,234 | 7.0 / 1,234 | 0.25 |" in text
    assert "| Peer | – | 900 / 1,234 | 0.25 |" in text
    assert "fewer where it is slow: Peer at 1,000 rules 100." in text
    assert "- Not measured: Other: it is not installed." in text


def test_the_document_is_written_between_its_marks_and_nowhere_else() -> None:
    once = report.written(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", FIGURES)
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert "old" not in once
    assert report.written(once, FIGURES) == once
    with pytest.raises(ValueError, match="lacks"):
        report.written("no marks", FIGURES)


def test_the_document_has_the_tables_of_the_figures_that_are_kept() -> None:
    text = report.DOCUMENT.read_text()
    assert report.written(text, saved()) == text


def test_figures_survive_their_file() -> None:
    assert msgspec.json.decode(msgspec.json.encode(FIGURES), type=Figures) == FIGURES
