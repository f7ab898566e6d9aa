"""Parameters and lengths of tests: `make test` takes some of them, `make test-full` all."""

import os
import time
from collections.abc import Iterable
from typing import Any

import pytest

UNTIL = "WRIT_TESTS_UNTIL"
"""Set where a share of the tests runs: the end of its time, by CLOCK_MONOTONIC."""
LEAST = 5.0


def time_for(most: float) -> float:
    """Return the seconds that a test without an end of its own takes: `most`, or less near the end of a share."""
    until = os.environ.get(UNTIL)
    return most if until is None else max(LEAST, min(most, float(until) - time.monotonic()))


def some(values: Iterable[Any], *representative: Any) -> list[Any]:
    """Return the values for `pytest.mark.parametrize`, all but the representative ones marked exhaustive."""
    every = list(values)
    if strangers := [one for one in representative if one not in every]:
        raise ValueError(f"not among the parameters: {strangers}")
    if not representative:
        raise ValueError("none is representative: mark the test itself")
    return [one if one in representative else _marked(one) for one in every]


def _marked(value: Any) -> Any:
    values = value if isinstance(value, tuple) else (value,)
    return pytest.param(*values, marks=pytest.mark.exhaustive)
