"""Windows against a minute-by-minute walk over both clock changes, in zones with different hours of change."""

import os
import subprocess
import sys
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rules.asking import CATALOGUE, file_of, rule

from writ_rules.engine.policy_file.format import WindowEntry
from writ_rules.engine.policy_file.times import duration, instant, seconds_of_day, window
from writ_rules.lint.policy_lint import lint
from writ_testing.each_case import each_case

CHANGES = [
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Australia/Lord_Howe", date(2026, 10, 4)),
]
SHAPES = [("01:30", "02:30"), ("02:00", "03:00"), ("22:00", "02:15"), ("00:00", "24:00"), ("03:00", "03:00")]


@each_case(("zone", "change"), CHANGES)
@each_case(("start", "end"), SHAPES)
def test_window_holds_exactly_by_the_wall_clock_of_its_zone(zone: str, change: date, start: str, end: str) -> None:
    weekday = change.isoweekday()
    made = window(WindowEntry(start_time=start, end_time=end, days_of_week=[weekday], timezone=zone))
    tz = ZoneInfo(zone)
    first = datetime(change.year, change.month, change.day, tzinfo=tz).timestamp() - 86_400
    for minute in range(3 * 24 * 60):
        local = datetime.fromtimestamp(first + minute * 60, tz)
        clock = f"{local:%H:%M}"
        if start < end:
            expected = local.date() == change and start <= clock < end
        else:
            morning = local.date() == change + timedelta(days=1) and clock < end
            expected = morning or (local.date() == change and clock >= start)
        assert made.holds(local) is expected, local


@given(
    st.integers(0, 1439), st.integers(1, 1440), st.sets(st.integers(0, 7), min_size=1), st.integers(0, 2_000_000_000)
)
def test_window_opens_at_the_next_opening_and_not_before(start: int, end: int, days: set[int], now: int) -> None:
    entry = WindowEntry(start_time=_clock(start), end_time=_clock(end), days_of_week=[*sorted(days)], timezone="UTC")
    made = window(entry)
    opening = made.opens(now)
    assert opening is not None
    assert opening.timestamp() > now
    assert made.holds(opening)
    before = datetime.fromtimestamp(opening.timestamp() - 1, made.zone)
    assert not made.holds(before) or start == end or end == 1440 or start == 0


def test_window_skipped_by_a_clock_change_opens_a_week_later() -> None:
    made = window(WindowEntry(start_time="02:00", end_time="03:00", days_of_week=[7], timezone="Europe/Berlin"))
    for day in (27, 28):
        opening = made.opens(datetime(2026, 3, day, 12, tzinfo=made.zone).timestamp())
        assert opening == datetime(2026, 4, 5, 2, tzinfo=made.zone)


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def test_dates_bound_the_day_on_which_a_window_starts() -> None:
    made = window(WindowEntry(start_time="22:00", end_time="02:00", from_="2026-12-01", until="2026-12-02"))
    held = [
        made.holds(datetime(2026, 12, day, hour, tzinfo=made.zone)) for day, hour in ((1, 1), (1, 23), (3, 1), (3, 23))
    ]
    assert held == [False, True, True, False]


@pytest.mark.parametrize("text", ["8", "25:00", "24:01", "8:5", "08:00:60", "", "08:00 "])
def test_malformed_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        seconds_of_day(text)


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "2026-11-24T09:00:00", "2026-11-24t09:00", "2026-11-24x09:00", "2026-13-01"]
)
def test_malformed_instant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        instant(text)


def test_a_zone_needs_no_database_of_the_systems() -> None:
    """The process runs on a system without one: the locked package brings it. Other files in it count as no zone."""
    program = """
from datetime import datetime
from zoneinfo import TZPATH
from writ_rules.engine.policy_file.format import WindowEntry
from writ_rules.engine.policy_file.times import window, zone
assert TZPATH == ()
made = window(WindowEntry(start_time="02:00", end_time="03:00", timezone="Europe/Berlin"))
print(made.holds(datetime(2026, 3, 28, 2, 30, tzinfo=made.zone)), made.zone.utcoffset(datetime(2026, 7, 1)))
for name in ("Europe/Berlim", "Europe", "", "__init__.py", "zone.tab", "../zoneinfo", "a\\0b"):
    try:
        print(zone(name))
    except ValueError:
        pass
"""
    environment = {**os.environ, "PYTHONTZPATH": ""}
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=False, env=environment, text=True, timeout=60
    )
    assert (ended.stdout, ended.stderr) == ("True 2:00:00\n", "")


def test_instants_and_durations_mean_seconds() -> None:
    assert instant("1970-01-02") == 86_400
    assert instant("1970-01-01T01:00:00+01:00") == 0
    assert [duration(text) for text in ("90s", "30m", "2h", "1d")] == [90, 1800, 7200, 86_400]


@pytest.mark.parametrize("name", ["Berlin", "../../etc/passwd", "", "Europe", "UTC\x00"])
def test_a_zone_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        window(WindowEntry(timezone=name))


def test_names_of_weekdays_are_the_numbers() -> None:
    named = window(WindowEntry(days_of_week=["mon", "sat", "sun"]))
    assert named == window(WindowEntry(days_of_week=[1, 6, 7])) == window(WindowEntry(days_of_week=[1, 6, 0]))


@pytest.mark.parametrize(
    ("dated", "meet"),
    [({"until": "9999-12-31"}, True), ({"from": "0001-01-01"}, True), ({"from": "9999-12-31"}, False)],
)
@pytest.mark.parametrize("zone", ["UTC", "Australia/Lord_Howe", "America/New_York"])
def test_windows_at_the_ends_of_the_calendar_are_compared(dated: dict[str, str], zone: str, *, meet: bool) -> None:
    """People write 9999-12-31 for no end; such windows are compared where rules have different defaults."""
    shown, always = {**dated, "timezone": zone}, {"start_time": "00:00", "end_time": "24:00", "timezone": zone}
    rules = [
        rule(name, "service_restart", time_restrictions=[when], parameter_constraints={"timeout": {"default": default}})
        for name, when, default in (("one", shown, 20), ("other", always, 30))
    ]
    found = lint(file_of(global_policies=rules), CATALOGUE)
    assert any("another default" in finding.message for finding in found) is meet


@pytest.mark.parametrize("day", ["0001-01-01", "0002-01-01", "9997-12-31", "9998-06-01", "9999-12-31"])
@pytest.mark.parametrize("zone", ["UTC", "Australia/Lord_Howe", "Etc/GMT+12"])
@pytest.mark.parametrize("times", [("22:00", "04:00"), ("00:00", "24:00")])
def test_windows_of_one_day_at_the_ends_of_the_calendar_are_checked(
    day: str, zone: str, times: tuple[str, str]
) -> None:
    window = {"from": day, "until": day, "timezone": zone, "start_time": times[0], "end_time": times[1]}
    found = lint(file_of(global_policies=[rule("one", "service_restart", time_restrictions=[window])]), CATALOGUE)
    assert [finding for finding in found if "window" in finding.message] == []
