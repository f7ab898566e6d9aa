"""Windows of all shapes against a walk minute by minute over the weeks in which clocks change, in four zones.

The walk knows nothing but clocks on walls: it lists the wall times at which a window is open, day by day, and reads the
clock of the zone at each minute. Zones: one that changes at night, one at another hour, one by half an hour (in the
southern hemisphere), one at midnight (there, too).
"""

from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest

from writ_rules.engine.policy_file.format import MaintenanceWindow, WindowEntry
from writ_rules.engine.policy_file.maintenance import maintenance
from writ_rules.engine.policy_file.times import Occasion, window

CHANGES = [
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("America/Santiago", date(2026, 4, 4)),
    ("America/Santiago", date(2026, 9, 6)),
]
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
CLOCKS = ("00:00", "00:30", "01:30", "01:45", "02:00", "02:15", "02:30", "03:00", "12:00", "23:00", "23:59")
Walk = list[tuple[float, datetime]]


def walk(zone: str, change: date, days: int = 4) -> Walk:
    """Each minute from some days before a change to some days after it: the instant, and what the wall shows."""
    start = datetime(change.year, change.month, change.day, tzinfo=UTC) - days * DAY
    instants = [(start + number * MINUTE).timestamp() for number in range(2 * days * 24 * 60)]
    return [(instant, datetime.fromtimestamp(instant, ZoneInfo(zone))) for instant in instants]


def minutes(first: datetime, last: datetime) -> set[datetime]:
    """Wall times from the first to before the last."""
    return {first + number * MINUTE for number in range(int((last - first) / MINUTE))}


def drawn(r: Random, zone: str, change: date) -> tuple[WindowEntry, set[datetime]]:
    """A window, and the wall times at which it is open around the change."""
    start, end = r.choice(CLOCKS), r.choice((*CLOCKS, "24:00"))
    days = r.sample(range(8), r.randint(1, 7)) if r.random() < 0.7 else None
    first = change + r.randint(-3, 3) * DAY if r.random() < 0.3 else None
    last = change + r.randint(-3, 3) * DAY if r.random() < 0.3 else None
    entry = WindowEntry(
        start_time=start,
        end_time=end,
        days_of_week=None if days is None else [*days],
        timezone=zone,
        from_=None if first is None else first.isoformat(),
        until=None if last is None else last.isoformat(),
    )
    found: set[datetime] = set()
    for day in (change + number * DAY for number in range(-7, 8)):
        weekday = days is None or day.isoweekday() in days or (day.isoweekday() == 7 and 0 in days)
        if weekday and (first is None or day >= first) and (last is None or day <= last):
            opens, closes = at(day, start), at(day, end)
            found |= minutes(opens, closes if closes > opens else closes + DAY)
    return entry, found


def at(day: date, clock: str) -> datetime:
    hours, rest = clock.split(":")
    return datetime(day.year, day.month, day.day) + timedelta(hours=int(hours), minutes=int(rest))  # noqa: DTZ001


def drawn_maintenance(r: Random, zone: str, change: date) -> tuple[MaintenanceWindow, set[datetime]]:
    """A repeated one, which lasts from some minutes to some days."""
    often: Literal["daily", "weekly", "monthly"] = r.choice(("daily", "weekly", "monthly"))
    monthly, daily = often == "monthly", often == "daily"
    day = change - r.choice((0, 1, 7, 28, 31, 59)) * DAY
    start = at(day, r.choice(CLOCKS))
    end = start + r.choice((30, 90, 24 * 60, *([] if daily else [3 * 24 * 60]))) * MINUTE
    days = r.sample(range(1, 8), r.randint(1, 3)) if not monthly and r.random() < 0.5 else None
    number = r.choice((1, change.day, 30, 31)) if monthly and r.random() < 0.5 else None
    entry = MaintenanceWindow(
        start_time=start.isoformat(),
        end_time=end.isoformat(),
        recurrence=often,
        days_of_week=None if days is None else [*days],
        day_of_month=number,
        timezone=zone,
    )
    found: set[datetime] = set()
    for each in (change + number * DAY for number in range(-10, 11)):
        usual = range(1, 8) if daily else [day.isoweekday()]
        fits = each.day == (number or day.day) if monthly else each.isoweekday() in (days or usual)
        if fits and each >= day:
            opens = datetime.combine(each, start.time())
            found |= minutes(opens, opens + (end - start))
    return entry, found


@pytest.mark.parametrize(("zone", "change"), CHANGES)
def test_a_window_is_open_at_exactly_these_minutes(zone: str, change: date) -> None:
    walked = walk(zone, change)
    for seed in range(12):
        entry, expected = drawn(Random(seed), zone, change)
        made = window(entry)
        for _, local in walked:
            assert made.holds(local) is (local.replace(tzinfo=None) in expected), (seed, entry, local)


@pytest.mark.parametrize(("zone", "change"), CHANGES)
def test_a_maintenance_window_that_comes_again_is_open_at_exactly_these_minutes(zone: str, change: date) -> None:
    walked = walk(zone, change)
    for seed in range(12):
        entry, expected = drawn_maintenance(Random(seed), zone, change)
        made = maintenance("m", entry)
        for _, local in walked:
            assert made.holds(local) is (local.replace(tzinfo=None) in expected), (seed, entry, local)


@pytest.mark.parametrize(("zone", "change"), CHANGES)
def test_next_opening_of_a_window_is_when_it_opens(zone: str, change: date) -> None:
    """None opens earlier, and it is open from then on. The answer is for people, so if a window opens twice in an hour,
    the first time will do.
    """
    walked = walk(zone, change)
    for seed in range(12):
        occasions: list[tuple[Occasion, set[datetime]]] = []
        entry, expected = drawn(Random(seed), zone, change)
        occasions.append((window(entry), expected))
        repeated, expected = drawn_maintenance(Random(seed), zone, change)
        occasions.append((maintenance("m", repeated), expected))
        for made, open_at in occasions:
            is_open = [local.replace(tzinfo=None) in open_at for _, local in walked]
            for number in range(1, len(walked) // 2, 397):
                opening = next((n for n in range(number + 1, len(walked)) if is_open[n] and not is_open[n - 1]), None)
                reported = made.opens(walked[number][0])
                if opening is not None and not is_open[number]:
                    assert reported is not None, (seed, made)
                    assert reported.timestamp() == walked[opening][0], (seed, str(made), walked[number][1], reported)


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("Europe/Berlin", date(2026, 10, 25)),
        ("Europe/Berlin", date(2026, 3, 29)),
        ("America/Havana", date(2026, 11, 1)),  # back to midnight
        ("America/Havana", date(2026, 3, 8)),
        ("Asia/Beirut", date(2026, 10, 24)),  # from midnight back into the day before
        ("America/St_Johns", date(2006, 10, 28)),  # after midnight back into the day before
        ("Australia/Lord_Howe", date(2026, 4, 5)),
    ],
)
@pytest.mark.parametrize(
    ("start", "length"), [("23:30", 20), ("00:30", 60), ("02:15", 30), ("01:30", 60), ("22:00", 255)]
)
def test_opening_and_end_of_a_window_are_told_right_in_a_repeated_hour(
    zone: str, change: date, start: str, length: int
) -> None:
    first = at(change, start) - 7 * DAY
    day = change.isoweekday()
    keys: dict[str, Any] = {"timezone": zone, "days_of_week": [day]}
    end = first + length * MINUTE
    weekly = MaintenanceWindow(start_time=first.isoformat(), end_time=end.isoformat(), recurrence="weekly", **keys)
    walked = walk(zone, change + DAY, days=2)
    for made in (window(WindowEntry(start_time=start, end_time=f"{end:%H:%M}", **keys)), maintenance("m", weekly)):
        opens = [made.holds(local) for _, local in walked]
        edges = [n for n in range(1, len(walked)) if opens[n] is not opens[n - 1]]
        for number in range(0, edges[-1] if edges else 0, 7):  # none, if the clock skips it
            edge = next(n for n in edges if n > number)
            told = made.closes(walked[number][0]) if opens[number] else made.opens(walked[number][0])
            assert told is not None
            assert told.timestamp() == walked[edge][0], (made, walked[number][1], told)
