"""Maintenance windows of a policy: periods, once, daily, weekly or monthly, by the wall clock of their zone.

A repeated one starts on its days from the first start's date on, at the local time of the first start. Its length is
the difference between the local times of the first start and end. Changes of the clock count as in `times`.
"""

import re
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from writ_rules.engine.policy_file.format import MaintenanceWindow, present
from writ_rules.engine.policy_file.times import DAY, LAST_DAY, Occasion, closing, opening, wall_clock, weekday, zone

LONGEST_DAYS = 31
_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2})?")
LOOK_AHEAD_DAYS = 366


class SingleWindow(Struct, frozen=True, kw_only=True):
    """A window from one instant to before another."""

    name: str
    start: datetime
    end: datetime
    zone: ZoneInfo

    def holds(self, local: datetime) -> bool:
        return self.start.timestamp() <= local.timestamp() < self.end.timestamp()

    def opens(self, at: float) -> datetime | None:
        """Return its start, if later than `at`."""
        return self.start if self.start.timestamp() > at else None

    def closes(self, at: float) -> datetime | None:
        return self.end if self.holds(wall_clock(at, self.zone)) else None

    @property
    def ended(self) -> datetime:
        return self.end

    def __str__(self) -> str:
        return f"'{self.name}'"


class RepeatedWindow(Struct, frozen=True, kw_only=True):
    """A window on each of its days from `first` on: `length` seconds of the wall clock, `start` seconds after
    midnight.
    """

    name: str
    first: date
    start: int
    length: int
    weekdays: frozenset[int] | None
    month_days: frozenset[int] | None
    zone: ZoneInfo

    def holds(self, local: datetime) -> bool:
        """Return whether it started today, or on an earlier day and is still open."""
        second = local.hour * 3600 + local.minute * 60 + local.second
        return any(
            self.start <= second + days * DAY < self.start + self.length
            and self._starts_on(local.date() - timedelta(days=days))
            for days in range((self.start + self.length - 1) // DAY + 1)
        )

    def _starts_on(self, day: date) -> bool:
        if day < self.first or (self.weekdays is not None and day.weekday() not in self.weekdays):
            return False
        return self.month_days is None or day.day in self.month_days

    def opens(self, at: float) -> datetime | None:
        """Return the next opening after `at`, if within a year or at its first date."""
        begin = min(max(wall_clock(at, self.zone).date(), self.first), LAST_DAY)
        return opening(self, at, begin, self.start, LOOK_AHEAD_DAYS)

    def closes(self, at: float) -> datetime | None:
        return closing(self, at, self.start + self.length, 2 * LONGEST_DAYS)

    @property
    def ended(self) -> None:
        """Return None: a repeated window has no last period."""

    def __str__(self) -> str:
        return f"'{self.name}'"


def parts(entry: MaintenanceWindow) -> Iterator[tuple[str, Callable[[Any], object], str]]:
    """Yield each textual key with its reader."""
    yield "timezone", zone, entry.timezone
    yield "start_time", _written, entry.start_time
    yield "end_time", _written, entry.end_time


def maintenance(name: str, entry: MaintenanceWindow) -> Occasion:
    """Return the window of an entry; raises ValueError."""
    where = zone(entry.timezone)
    start, end = _moment(entry.start_time, where), _moment(entry.end_time, where)
    if entry.recurrence in (None, "none"):
        if end.timestamp() <= start.timestamp():
            raise ValueError("end_time is not after start_time")
        return SingleWindow(name=name, start=start, end=end, zone=where)
    local, until = (_local(moment, where) for moment in (start, end))
    length = (until - local) // timedelta(seconds=1)
    if length <= 0:
        raise ValueError("end_time is not after start_time")
    if length > LONGEST_DAYS * DAY:
        raise ValueError(f"a window that comes again lasts at most {LONGEST_DAYS} days")
    if entry.recurrence == "daily" and length > DAY:
        raise ValueError("a daily window lasts at most 24 hours: end_time is the end of the first one")
    weekdays = None if entry.days_of_week is None else {weekday(day) for day in present(entry.days_of_week)}
    month_days = None if entry.day_of_month is None else {entry.day_of_month}
    if entry.recurrence == "weekly" and weekdays is None:
        weekdays = {local.weekday()}
    if entry.recurrence == "monthly" and month_days is None:
        month_days = {local.day}
    return RepeatedWindow(
        name=name,
        first=local.date(),
        start=local.hour * 3600 + local.minute * 60 + local.second,
        length=length,
        weekdays=None if weekdays is None else frozenset(weekdays),
        month_days=None if month_days is None else frozenset(month_days),
        zone=where,
    )


def _local(moment: datetime, where: ZoneInfo) -> datetime:
    """Return the wall clock time; as written, even on a day on which the clock skips it."""
    local = moment if moment.tzinfo is where else wall_clock(moment.timestamp(), where)
    return local.replace(tzinfo=None)


def _moment(text: str, where: ZoneInfo) -> datetime:
    """Return an instant; without an offset it is by the zone's clock, the first of two such moments."""
    when = _written(text)
    return when if when.tzinfo is not None else when.replace(tzinfo=where)


def _written(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        hint = ""
        if _CLOCK.fullmatch(text):
            hint = "; for hours of each day, write the first period with its date, and recurrence: daily"
        raise ValueError(f"{text!r} is not a date or time such as 2026-11-24T09:00:00Z{hint}") from error
