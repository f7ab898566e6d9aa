"""Which parameters of a test are left to `make test-full`."""

import pytest

from writ_testing.exhaustive import some


def marked(parameters: list[object]) -> list[object]:
    return [one.values for one in parameters if isinstance(one, type(pytest.param())) and one.marks]


def test_all_parameters_but_the_representative_ones_are_exhaustive() -> None:
    assert marked(some(["a", "b", "c"], "b")) == [("a",), ("c",)]
    assert some(["a", "b", "c"], "b")[1] == "b"


def test_a_tuple_is_the_values_of_several_parameters() -> None:
    assert marked(some([("a", 1), ("b", 2)], ("b", 2))) == [("a", 1)]


def test_a_representative_that_is_no_parameter_is_refused() -> None:
    with pytest.raises(ValueError, match="not among the parameters: \\['d'\\]"):
        some(["a", "b"], "d")
    with pytest.raises(ValueError, match="none is representative"):
        some(["a", "b"])
