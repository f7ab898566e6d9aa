"""Combinations of values, one of each axis: all of them, or as many as may be tried, from everywhere."""

from collections.abc import Iterator, Sequence
from itertools import product
from math import gcd, prod
from typing import Any

Axes = Sequence[Sequence[Any]]
_STRIDE = 7_919


def spread(axes: Axes, most: int) -> Iterator[tuple[Any, ...]]:
    """Where there are more than `most`: first those that differ from the first in one thing, then all over."""
    if prod(len(axis) for axis in axes) <= most:
        yield from product(*axes)
        return
    first = tuple(axis[0] for axis in axes)
    yield from ((*first[:at], value, *first[at + 1 :]) for at, axis in enumerate(axes) for value in axis)
    yield from _strided(axes, most)


def spread_over(places: Sequence[Any], axes: Axes, most: int) -> Iterator[tuple[Any, ...]]:
    """The same, with what differs in one thing at each of the places."""
    if len(places) * prod(len(axis) for axis in axes) <= most:
        yield from product(places, *axes)
        return
    first = tuple(axis[0] for axis in axes)
    for at, axis in enumerate(axes):
        for value, place in product(axis, places):
            yield (place, *first[:at], value, *first[at + 1 :])
    yield from _strided([places, *axes], most)


def _strided(axes: Axes, most: int) -> Iterator[tuple[Any, ...]]:
    total = prod(len(axis) for axis in axes)
    stride = next(step for step in range(_STRIDE, _STRIDE + total + 2) if gcd(step, total) == 1)
    for number in range(most):
        at, picked = number * stride % total, []
        for axis in axes:
            at, place = divmod(at, len(axis))
            picked.append(axis[place])
        yield tuple(picked)
