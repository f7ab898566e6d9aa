"""Times in policies, judged at an instant (Unix seconds) the caller gives.

A window belongs to the day on which it starts, by the wall clock of its zone: one from Friday 22:00 to 06:00 holds on
Saturday at 01:00. Where the clock is set forward, the skipped hour never holds; where it is set back, it comes twice.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Protocol, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from writ_documents.shapes import without_unit
from writ_rules.engine.policy_file.format import DayName, WindowEntry, present

DAY = 86_400
_DAY_NAMES = get_args(DayName)
NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
LOOK_AHEAD_DAYS = 15
UTC_ZONE = ZoneInfo("UTC")
EARLIEST, LATEST = (datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (2, 9998))
"""The limits of the calendar; earlier and later times are judged as these."""
_clock = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?").fullmatch
_duration = re.compile(r"([1-9]\d{0,6})([smhd])").fullmatch
_unit = {"s": 1, "m": 60, "h": 3600, "d": DAY}


LAST_DAY = date(9996, 12, 31)
LONGEST_LEAP = 2 * DAY
"""Seconds; islands have changed sides of the date line."""


def wall_clock(at: float, zone: ZoneInfo) -> datetime:
    """Return the wall clock time of the zone at an instant (Unix seconds)."""
    return datetime.fromtimestamp(min(max(at, EARLIEST), LATEST), zone)


def first_at(day: date, seconds: int, zone: ZoneInfo) -> datetime:
    """Return the first instant at which the wall clock shows this time of a day; where the clock skips it, the instant
    of the skip.
    """
    wall = datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(seconds=seconds)
    early, late = sorted(wall.replace(fold=fold).timestamp() for fold in (0, 1))
    if wall_clock(late, zone).replace(tzinfo=None, fold=0) == wall.replace(tzinfo=None):
        return wall_clock(early, zone)
    landings = (wall_clock(early + minutes * 60, zone) for minutes in range(LONGEST_LEAP // 60))
    return next((local for local in landings if local.replace(tzinfo=None) >= wall.replace(tzinfo=None)), wall)


class Occasion(Protocol):
    """A period, possibly repeated, by the clock of a zone."""

    @property
    def zone(self) -> ZoneInfo:
        """The zone of the clock."""

    def holds(self, local: datetime) -> bool:
        """Return whether it is open at this moment, given in its zone."""

    def opens(self, at: float) -> datetime | None:
        """Return the next opening after `at` (Unix seconds), if in sight."""

    def closes(self, at: float) -> datetime | None:
        """Return the end of the period that is open at `at`; None where it is closed, or open without an end."""

    @property
    def ended(self) -> datetime | None:
        """Return the end of the last period; None where there is no last one."""


class Window(Struct, frozen=True, kw_only=True):
    """A window of seconds of the day from `start` to before `end`, on these weekdays (0 is Monday), between these
    dates.
    """

    start: int
    end: int
    days: frozenset[int]
    zone: ZoneInfo
    first: date | None = None
    last: date | None = None

    def holds(self, local: datetime) -> bool:
        second = local.hour * 3600 + local.minute * 60 + local.second
        if self.start < self.end:
            return self.start <= second < self.end and self._starts_on(local.date())
        if second >= self.start:
            return self._starts_on(local.date())
        return second < self.end and self._starts_on(local.date() - timedelta(days=1))

    def _starts_on(self, day: date) -> bool:
        if day.weekday() not in self.days:
            return False
        return (self.first is None or day >= self.first) and (self.last is None or day <= self.last)

    def opens(self, at: float) -> datetime | None:
        """Return the next opening after `at`, if within two weeks or at its first date. Two, since a change of
        the clock may skip one opening.
        """
        today = wall_clock(at, self.zone).date()
        return opening(self, at, min(max(today, self.first or today), LAST_DAY), self.start, LOOK_AHEAD_DAYS)

    def closes(self, at: float) -> datetime | None:
        if len(self.days) == 7 and (self.end - self.start) % DAY == 0:  # open from its first day to its last
            ended = self.ended if self.holds(wall_clock(at, self.zone)) else None
            return None if ended is None or ended.timestamp() <= at else ended
        return closing(self, at, self.end, LOOK_AHEAD_DAYS)

    @property
    def ended(self) -> datetime | None:
        """Return the end of the last day's window, where there is a last day."""
        if self.last is None or self.last > LAST_DAY:
            return None
        return first_at(self.last + timedelta(days=self.end <= self.start), self.end, self.zone)

    def __str__(self) -> str:
        dates = "" if self.first is None else f" from {self.first}"
        dates += "" if self.last is None else f" until {self.last}"
        return f"{_days_text(self.days)} {_clock_text(self.start)}-{_clock_text(self.end)} {self.zone.key}{dates}"


def opening(occasion: Occasion, at: float, begin: date, start: int, days: int) -> datetime | None:
    """Return the first opening after `at`, among these days from `begin` on. `start`: seconds after midnight."""
    moments = _moments(occasion.zone, begin, start, days)
    opened = (
        moment
        for moment, by_change in moments
        if moment > at and is_open(occasion, moment) and not (by_change and is_open(occasion, moment - 1))
    )
    found = next(opened, None)
    return None if found is None else wall_clock(found, occasion.zone)


def closing(occasion: Occasion, at: float, end: int, days: int) -> datetime | None:
    """Return the end of the period that is open at `at`, where the occasion is not open again at once, if it is within
    these days. `end`: seconds after midnight.
    """
    if not is_open(occasion, at):
        return None
    moments = _moments(occasion.zone, min(wall_clock(at, occasion.zone).date(), LAST_DAY), end % DAY, days)
    found = next((moment for moment, _ in moments if moment > at and not is_open(occasion, moment)), None)
    return None if found is None else wall_clock(found, occasion.zone)


def is_open(occasion: Occasion, at: float) -> bool:
    """Return whether it is open at an instant."""
    return occasion.holds(wall_clock(at, occasion.zone))


def _moments(zone: ZoneInfo, begin: date, seconds: int, days: int) -> Iterator[tuple[float, bool]]:
    """Yield the instants, in order, at which the clock shows this time of a day, or (true) at which it is changed.

    A clock that is set back over midnight shows the end of a day again after the next day began.
    """
    waiting: list[tuple[float, bool]] = []
    for ahead in range(-1, days + 1):
        day = begin + timedelta(days=ahead)
        shown = [(moment, False) for moment in showing(day, seconds, zone)]
        earlier = waiting[-1:]
        waiting = sorted([*waiting, *shown, *((moment, True) for moment in changes(day, zone))])
        while earlier and waiting and waiting[0] <= earlier[0]:
            yield waiting.pop(0)


def showing(day: date, seconds: int, zone: ZoneInfo) -> list[float]:
    """Return the instants at which the wall clock shows this time of the day: two where it is set back over it, none
    where it skips it.
    """
    wall = datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(seconds=seconds)
    moments = dict.fromkeys(wall.replace(fold=fold).timestamp() for fold in (0, 1))
    return [one for one in moments if wall_clock(one, zone).replace(tzinfo=None, fold=0) == wall.replace(tzinfo=None)]


@lru_cache(maxsize=1024)
def changes(day: date, zone: ZoneInfo) -> tuple[float, ...]:
    """Return the instant at which the wall clock is changed, if it is: after the first midnight of this day, and not
    after that of the next one.
    """
    early, late = (_midnight(day + timedelta(days=days), zone) for days in (0, 1))
    before = wall_clock(early, zone).utcoffset()
    if wall_clock(late, zone).utcoffset() == before:
        return ()
    while late - early > 1:
        middle = (early + late) // 2
        early, late = (middle, late) if wall_clock(middle, zone).utcoffset() == before else (early, middle)
    return (float(late),)


def _midnight(day: date, zone: ZoneInfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


def window(entry: WindowEntry) -> Window:
    """Return the window of an entry; raises ValueError, for a mistake in one key as `parts` do."""
    start, end = seconds_of_day(entry.start_time), seconds_of_day(entry.end_time)
    if start == DAY:
        raise ValueError("start_time 24:00 is the next day's 00:00")
    days = range(7) if entry.days_of_week is None else (weekday(day) for day in present(entry.days_of_week))
    return Window(
        start=start,
        end=end,
        days=frozenset(days),
        zone=zone(entry.timezone),
        first=None if entry.from_ is None else _date(entry.from_),
        last=None if entry.until is None else _date(entry.until),
    )


def weekday(day: object) -> int:
    """Return the day of a week of the policy file, from Monday, which is 0."""
    return (day - 1) % 7 if isinstance(day, int) else _DAY_NAMES.index(day)


def parts(entry: WindowEntry) -> Iterator[tuple[str, Callable[[Any], object], str | None]]:
    """Yield each textual key with its reader."""
    yield "start_time", seconds_of_day, entry.start_time
    yield "end_time", seconds_of_day, entry.end_time
    yield "timezone", zone, entry.timezone
    yield "from", _date, entry.from_
    yield "until", _date, entry.until


def seconds_of_day(text: str) -> int:
    """Return the seconds of `08:30`, `08:30:15` or `24:00`; raises ValueError."""
    match = _clock(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time of day such as 08:30")
    second = int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3] or 0)
    if second > DAY:
        raise ValueError(f"{text!r} is after 24:00")
    return second


def zone(name: str) -> ZoneInfo:
    """Return the IANA time zone; raises ValueError, also for names of this machine alone, such as `localtime`."""
    try:
        if name.startswith(("localtime", "posix", "right/")):
            raise ValueError(name)
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"there is no time zone {name!r}") from error


def instant(text: str) -> float:
    """Return the Unix seconds of an ISO 8601 time with its offset, or of a date (midnight UTC); raises ValueError."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a date or time such as 2026-11-24T09:00:00Z") from error
    if when.tzinfo is None:
        try:
            date.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{text!r} does not say its offset from UTC: end it with Z or +01:00") from None
        when = when.replace(tzinfo=UTC)
    return when.timestamp()


def duration(text: str) -> int:
    """Return the seconds of `90s`, `30m`, `2h` or `1d`; raises ValueError."""
    match = _duration(text)
    if match is None:
        number = text.isascii() and text.isdigit()
        raise ValueError(without_unit(text) if number else f"{text!r} is not a duration such as 30m")
    return int(match[1]) * _unit[match[2]]


def duration_text(seconds: float) -> str:
    """Return a duration as a policy has it: `12h` for 43,200 seconds."""
    for letter in ("d", "h", "m"):
        if seconds >= _unit[letter] and not seconds % _unit[letter]:
            return f"{seconds // _unit[letter]:g}{letter}"
    return f"{seconds:g}s"


def age(value: float | str) -> float:
    """Return the seconds of a number, or of a duration; raises ValueError."""
    if isinstance(value, str):
        return float(duration(value))
    if not 0 <= value < float("inf"):
        raise ValueError(f"{value} is not an age in seconds")
    return float(value)


def when_text(moment: datetime) -> str:
    """Return an instant for people: weekday, date, time, zone."""
    return f"{NAMES[moment.weekday()]} {moment:%Y-%m-%d %H:%M} {moment.tzinfo}"


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a date such as 2026-12-24") from error


def _days_text(days: frozenset[int]) -> str:
    ordered = sorted(days)
    if len(ordered) == 7:
        return "daily"
    if len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{NAMES[ordered[0]]}-{NAMES[ordered[-1]]}"
    return ",".join(NAMES[day] for day in ordered) or "never"


def _clock_text(second: int) -> str:
    seconds = f":{second % 60:02}" if second % 60 else ""
    return f"{second // 3600:02}:{second // 60 % 60:02}{seconds}"
