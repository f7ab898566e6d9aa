"""Instants at which a policy's time clauses may change: edges of windows, and first and last moments.

Between two of them nothing changes, so one instant of each kind stands for all of its kind.
"""

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

from msgspec import Struct

from writ_rules.engine.clauses.scopes import EffectClause
from writ_rules.engine.policy_file.maintenance import LONGEST_DAYS, RepeatedWindow, SingleWindow
from writ_rules.engine.policy_file.times import DAY, EARLIEST, LATEST, Occasion, Window, wall_clock

MINUTE = 60.0
HALF_A_YEAR = 26 * 7 * DAY
WEEK = 8
MOST_DATED = 12
"""Upper limit of first and last moments around which a week of windows is tried."""


def instants(clauses: Iterable[Any], at: float) -> list[float]:
    """Return instants to try: `at` itself, then later ones, the nearest first. Clauses without a time are ignored."""
    listed = list(clauses)
    windows, dated = _windows(listed), dates(listed)
    candidates = [at, *(moment + step for moment in dated for step in (0.0, -MINUTE, MINUTE))]
    dated = dated[:MOST_DATED]
    around = [at, at + HALF_A_YEAR, *dated, *(moment - WEEK * DAY for moment in dated)] if windows else []
    candidates += [moment for base in around for window in windows for moment in _edges(window, base)]
    return sorted(dict.fromkeys(candidates), key=lambda moment: (moment < at, abs(moment - at)))


def dates(clauses: Iterable[Any]) -> list[float]:
    """Return the first and last moments of the clauses, in order, without the infinite ones."""
    listed = list(clauses)
    ends = [end for clause in listed if isinstance(clause, EffectClause) for end in (clause.since, clause.until)]
    ends = [end for end in ends if abs(end) < float("inf")]
    found = {*ends, *(moment for window in _windows(listed) for moment in _dates(window))}
    return sorted({min(max(moment, EARLIEST), LATEST) for moment in found})


def _windows(clauses: Iterable[Any]) -> list[Occasion]:
    return [window for clause in clauses for window in getattr(clause, "windows", ())]


class _Windows(Struct, frozen=True):
    windows: tuple[Occasion, ...]


@lru_cache(maxsize=64)
def distinct(
    effects: tuple[EffectClause, ...], alternatives: tuple[tuple[Occasion, ...], ...], at: float
) -> tuple[tuple[float, ...], int]:
    """Return one instant for each combination of results, the first one, and the number of first and last moments.

    `alternatives`: each holds while one of its windows is open. Many rules have the same ones, so results are kept.
    """
    clauses = [*effects, *(_Windows(windows) for windows in alternatives)]
    by_results: dict[tuple[bool, ...], float] = {}
    for moment in instants(clauses, at):
        inside = (clause.since <= moment < clause.until for clause in effects)
        opened = (any(one.holds(wall_clock(moment, one.zone)) for one in windows) for windows in alternatives)
        by_results.setdefault((*inside, *opened), moment)
    return tuple(by_results.values()), len(dates(clauses))


def _edges(window: Occasion, base: float) -> Iterator[float]:
    today = wall_clock(base, window.zone).date()
    ahead = range(-1, WEEK)
    seconds: tuple[int, ...] = ()
    if isinstance(window, Window):
        seconds = (window.start, window.end)
    elif isinstance(window, RepeatedWindow):
        ahead = range(-LONGEST_DAYS, 2 * LONGEST_DAYS)
        seconds = (window.start, window.start + window.length)
    for days in ahead:
        day = today + timedelta(days=days)
        if isinstance(window, RepeatedWindow) and not _starts_on(window, day):
            continue
        for second in seconds:
            moment = _moment(window, day, second)
            yield from (moment, moment - MINUTE, moment + MINUTE)


def _starts_on(window: RepeatedWindow, day: date) -> bool:
    weekday = window.weekdays is None or day.weekday() in window.weekdays
    return weekday and (window.month_days is None or day.day in window.month_days)


def _dates(window: Occasion) -> Iterator[float]:
    if isinstance(window, SingleWindow):
        yield from (window.start.timestamp(), window.end.timestamp())
    elif isinstance(window, RepeatedWindow):
        yield _moment(window, window.first, window.start)
    elif isinstance(window, Window):
        if window.first is not None:
            yield _moment(window, window.first, window.start)
        if window.last is not None:
            yield _moment(window, window.last, window.end)


def _moment(window: Occasion, day: date, second: int) -> float:
    if not 1 < day.year < 9999:  # `until: 9999-12-31`, without an end: no day is behind it
        return EARLIEST if day.year == 1 else LATEST
    clock = datetime(day.year, day.month, day.day, tzinfo=window.zone) + timedelta(seconds=second)
    return clock.timestamp()
