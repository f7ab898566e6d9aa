"""Two expressions without a common text: no text matches both against the automata's claim."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from writ_contracts.catalogue.grammar import FILE_PATTERN, IMAGE_PATTERN, UNIT_PATTERN
from writ_rules.engine.clauses.patterns import pattern as compiled
from writ_rules.values.automata import MOST_WORK, PatternComparisons, _common

ATOMS = st.sampled_from(["a", "b", "-", "/", ".", "[a-c]", "[^a]", r"\d", r"\W", "[^\\s/]", "$", "^", "é"])
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{20,}"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
    ),
    max_leaves=5,
)


@given(EXPRESSIONS, EXPRESSIONS, st.text("ab-/.c1 \n é", max_size=6))
def test_a_text_that_fits_both_is_never_shorter_than_claimed(grammar: str, expression: str, text: str) -> None:
    if re.search(grammar, text) and compiled(expression, deny=True).covers(text):
        assert PatternComparisons().shortest(grammar, expression) <= len(text)


def test_automata_find_that_no_text_fits() -> None:
    assert PatternComparisons().shortest(UNIT_PATTERN, "[A-Z ]+!") == float("inf")
    assert PatternComparisons().shortest(FILE_PATTERN, "srv/.*") == float("inf")
    assert PatternComparisons().shortest(IMAGE_PATTERN, "registry.example/[a-z]+@sha256:[0-9a-f]{64}") < float("inf")
    assert PatternComparisons().shortest(UNIT_PATTERN, "(?i)NGINX") == 0


def test_patterns_of_one_file_are_compared_up_to_a_number() -> None:
    comparisons = PatternComparisons(most=1)
    assert comparisons.shortest(UNIT_PATTERN, "!") == float("inf")
    assert comparisons.shortest(UNIT_PATTERN, " ") == 0
    assert comparisons.shortest(UNIT_PATTERN, "!") == float("inf")


@pytest.mark.parametrize(
    "pattern",
    ["(?:[a-z0-9]*|[a-f]+|x[g-z]?)" * 15 + "!", "(?:(?:abc?){16}){16}{3}!", "a?" * 240 + "!", "(?:a|b?)*" * 50],
)
def test_the_work_of_a_comparison_is_bounded(pattern: str) -> None:
    found, work = _common(IMAGE_PATTERN, pattern)
    assert work <= 2 * MOST_WORK
    assert found == 0 or "!" in pattern or found == 1
