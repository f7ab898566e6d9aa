"""Prose stays below twice its bars (`python -m tests.architecture.prose` prints the figures)."""

import pytest
from tests.architecture import prose


def test_prose_is_below_twice_its_bars(capsys: pytest.CaptureFixture[str]) -> None:
    assert prose.main() == 0, capsys.readouterr()


def test_prose_above_twice_a_bar_fails_and_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(prose, "DOCUMENT_BARS", prose.DocumentFigures(1, 30, 0))
    assert prose.main() == 1
    assert capsys.readouterr().err == "above twice the bar: documents: sentence_median\n"


def test_docstrings_that_are_absent_do_not_lower_the_figures() -> None:
    words = [["what", "that", "is"], ["return", "it"]]
    assert prose.docstring_figures([*words, []]) == prose.docstring_figures(words) == prose.DocstringFigures(50, 400)


def test_sentences_are_counted_without_code_tables_and_headings() -> None:
    text = (
        "# A title\n\nOne two three. Four `five`; six.\n\n- Seven eight\n- Nine.\n\n| a | b c d |\n\n```\nx. A.\n```\n"
    )
    assert prose.sentences(text) == [3, 3, 2, 1]


def test_long_lines_are_counted_in_prose_only() -> None:
    long = "word " * 40
    assert prose.long_lines(f"{long}\n| {long} |\n    {long}\n```\n{long}\n```\n") == 1
