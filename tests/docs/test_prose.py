"""Prose gets no worse: the figures of tests/docs/prose.py stay below the committed baseline, which only gets lower."""

from dataclasses import asdict
from typing import Any

import pytest
from tests.docs.prose import BARS, baseline, limits, long_lines, measure, sentences

MUCH_BETTER = 0.7
every_figure = pytest.mark.parametrize("figure", asdict(BARS))


@pytest.fixture(scope="module")
def now() -> dict[str, Any]:
    """Return the present figures. They take seconds, which each worker would spend if they were read on import."""
    return asdict(measure())


@every_figure
def test_prose_is_no_worse_than_its_limit(figure: str, now: dict[str, Any]) -> None:
    assert now[figure] <= asdict(limits())[figure], "python -m tests.docs.prose prints the figures"


@every_figure
def test_baseline_follows_figures_that_got_much_better(figure: str, now: dict[str, Any]) -> None:
    before = asdict(baseline())[figure]
    assert now[figure] >= MUCH_BETTER * before, "python -m tests.docs.prose --write lowers the baseline"


def test_sentences_are_counted_without_code_tables_and_headings() -> None:
    text = (
        "# A title\n\nOne two three. Four `five`; six.\n\n- Seven eight\n- Nine.\n\n| a | b c d |\n\n```\nx. A.\n```\n"
    )
    assert sentences(text) == [3, 3, 2, 1]


def test_long_lines_are_counted_in_prose_only() -> None:
    long = "word " * 40
    assert long_lines(f"{long}\n| {long} |\n    {long}\n```\n{long}\n```\n") == 1
