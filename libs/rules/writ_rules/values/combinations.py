"""Combinations of values, one of each axis: all of them, or a limited number spread over the whole space."""

from collections.abc import Iterator, Sequence
from itertools import product
from math import gcd, prod
from typing import Any

Axes = Sequence[Sequence[Any]]
_STRIDE = 7_919


def spread(axes: Axes, most: int) -> Iterator[tuple[Any, ...]]:
    """Yield combinations. With more than `most`: first those which differ from the first in one value, then an even
    spread.
    """
    if prod(len(axis) for axis in axes) <= most:
        yield from product(*axes)
        return
    first = tuple(axis[0] for axis in axes)
    yield from ((*first[:at], value, *first[at + 1 :]) for at, axis in enumerate(axes) for value in axis)
    yield from _strided(axes, most)


def spread_over(bases: Sequence[Any], axes: Axes, most: int) -> Iterator[tuple[Any, ...]]:
    """Yield combinations as `spread` does, with the variations of one value for each of the bases."""
    if len(bases) * prod(len(axis) for axis in axes) <= most:
        yield from product(bases, *axes)
        return
    first = tuple(axis[0] for axis in axes)
    for at, axis in enumerate(axes):
        for value, base in product(axis, bases):
            yield (base, *first[:at], value, *first[at + 1 :])
    yield from _strided([bases, *axes], most)


def _strided(axes: Axes, most: int) -> Iterator[tuple[Any, ...]]:
    total = prod(len(axis) for axis in axes)
    stride = next(step for step in range(_STRIDE, _STRIDE + total + 2) if gcd(step, total) == 1)
    for number in range(most):
        at, picked = number * stride % total, []
        for axis in axes:
            at, base = divmod(at, len(axis))
            picked.append(axis[base])
        yield tuple(picked)
