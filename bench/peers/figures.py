"""Store the figures beside this file for the table and the plot, and compute them from times."""

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

FILE = Path(__file__).with_name("figures.json")
ROUNDS = 3


class Row(Struct, frozen=True, kw_only=True):
    """One engine at one number of rules: microseconds a decision in the best round, and seconds until it could answer.

    `requests` in each round, each of them compared with the right answer before; `allowed` of those are allowed.
    """

    engine: str
    rules: int
    p50: float
    p99: float
    load: float
    requests: int
    allowed: int


class Gap(Struct, frozen=True, kw_only=True):
    """A measurement that was impossible, and the reason; `rules` 0: at no size."""

    engine: str
    rules: int
    why: str


class Figures(Struct, frozen=True, kw_only=True):
    """One run. `answers`: cost and content of each engine's answer; `versions`: those of the peers."""

    python: str
    cores: int
    answers: dict[str, str] = field(name="told")
    versions: dict[str, str]
    in_process: list[Row] = field(default_factory=list)
    over_wire: list[Row] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)


class Unequal(Exception):
    """Raised for an engine whose decisions differ from the rules: it is not timed."""


def compare(engine: str, decisions: Iterable[bool], right: Sequence[bool]) -> None:
    """Raises Unequal."""
    wrong = [number for number, (one, other) in enumerate(zip(decisions, right, strict=True)) if one != other]
    if wrong:
        raise Unequal(f"{engine}: {len(wrong)} of {len(right)} decisions are wrong, the first is number {wrong[0]}")


def times(ask: Callable[[Any], object], prepared: Sequence[Any]) -> list[float]:
    """Return the seconds of each call, one after the other."""
    found = []
    for request in prepared:
        began = time.perf_counter()
        ask(request)
        found.append(time.perf_counter() - began)
    return found


def best(rounds: Iterable[Sequence[float]]) -> tuple[float, float]:
    """Return p50 and p99, in microseconds, of the round with the lowest p50."""
    cuts = [statistics.quantiles(each, n=100) for each in rounds]
    return min((round(each[49] * 1e6, 1), round(each[98] * 1e6, 1)) for each in cuts)


def save(figures: Figures) -> None:
    """Store the figures for the next table."""
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")


def saved() -> Figures:
    """Return the figures of the last run."""
    return msgspec.json.decode(FILE.read_bytes(), type=Figures)
