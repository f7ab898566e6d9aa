"""Maintenance windows: once, daily, weekly, monthly, by the wall clock of their zone, both changes of it included."""

import re
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.rules.asking import CATALOGUE, World, file_of, policy, rule

from writ_rules.engine.compile import compile_policy
from writ_rules.engine.policy_file.format import MaintenanceWindow
from writ_rules.engine.policy_file.maintenance import maintenance

BERLIN = ZoneInfo("Europe/Berlin")
ONLY = rule("updates", "package_update", maintenance_windows_only=True)


def window(start: str, end: str, **keys: Any) -> dict[str, Any]:
    return {"start_time": start, "end_time": end, **keys}


def effects(windows: Any, *moments: str) -> list[str]:
    world = World(policy(require_approval_for_admin=False, maintenance_windows=windows, global_policies=[ONLY]))
    return [world.ask("package_update", now=moment).effect for moment in moments]


def test_single_window_includes_its_start_and_excludes_its_end() -> None:
    once = window("2026-11-24T10:00:00Z", "2026-11-24T14:00:00+01:00", name="move")
    moments = ("2026-11-24T09:59:59Z", "2026-11-24T10:00:00Z", "2026-11-24T12:59:59Z", "2026-11-24T13:00:00Z")
    assert effects([once], *moments) == ["deny", "allow", "allow", "deny"]


def test_a_time_without_an_offset_is_by_the_clock_of_the_zone() -> None:
    once = window("2026-11-24T11:00:00", "2026-11-24T12:00:00", timezone="Europe/Berlin")
    assert effects({"move": once}, "2026-11-24T09:59:59Z", "2026-11-24T10:00:00Z") == ["deny", "allow"]


def test_weekly_window_is_on_the_weekday_of_its_start_by_default() -> None:
    sunday = window("2026-11-01T02:00:00", "2026-11-01T06:00:00", recurrence="weekly")
    days = [f"2026-11-{day:02}T03:00:00Z" for day in range(22, 30)]  # the 22nd is a Sunday
    assert effects([sunday], *days) == ["allow", *["deny"] * 6, "allow"]
    assert effects([{**sunday, "days_of_week": [1, 3]}], *days[:4]) == ["deny", "allow", "deny", "allow"]


def test_nothing_repeats_before_the_first_start() -> None:
    late = window("2026-11-25T02:00:00", "2026-11-25T06:00:00", recurrence="weekly", days_of_week=[1, 2, 3, 4, 5, 6, 7])
    assert effects([late], "2026-11-24T03:00:00Z", "2026-11-25T03:00:00Z") == ["deny", "allow"]


def test_a_window_may_last_for_days() -> None:
    weekend = window("2026-11-06T22:00:00", "2026-11-09T05:00:00", recurrence="weekly")
    moments = ("2026-11-20T21:59:59Z", "2026-11-20T22:00:00Z", "2026-11-22T12:00:00Z", "2026-11-23T04:59:59Z")
    assert effects([weekend], *moments, "2026-11-23T05:00:00Z") == ["deny", "allow", "allow", "allow", "deny"]


def test_daily_window_is_on_each_day_from_its_first_start() -> None:
    nights = window("2026-11-24T22:00:00", "2026-11-25T04:00:00", recurrence="daily")
    moments = ("2026-11-24T03:00:00Z", "2026-11-24T22:00:00Z", "2026-11-25T04:00:00Z", "2026-11-29T03:59:59Z")
    assert effects([nights], *moments) == ["deny", "allow", "deny", "allow"]
    # The 25th is a Wednesday: its night ends on Thursday.
    workdays = {**nights, "days_of_week": ["wed"]}
    assert effects([workdays], "2026-11-25T03:00:00Z", "2026-11-26T03:00:00Z") == ["deny", "allow"]


def test_monthly_window_is_on_the_day_of_its_start_by_default() -> None:
    monthly = window("2026-01-15T02:00:00", "2026-01-15T03:00:00", recurrence="monthly")
    moments = ("2026-11-15T02:30:00Z", "2026-11-16T02:30:00Z")
    assert effects([monthly], *moments) == ["allow", "deny"]
    assert effects([{**monthly, "day_of_month": 16}], *moments) == ["deny", "allow"]


def test_a_month_that_lacks_the_day_has_none() -> None:
    last = window("2026-01-31T02:00:00", "2026-01-31T03:00:00", recurrence="monthly")
    moments = ("2026-11-30T02:30:00Z", "2026-12-01T02:30:00Z", "2026-12-31T02:30:00Z")
    assert effects([last], *moments) == ["deny", "deny", "allow"]


def test_a_day_of_the_week_and_of_the_month_must_both_fit() -> None:
    both = window("2026-01-01T02:00:00", "2026-01-01T03:00:00", recurrence="monthly", day_of_month=13, days_of_week=[5])
    moments = ("2026-10-13T02:30:00Z", "2026-11-13T02:30:00Z")  # Tuesday, Friday
    assert effects([both], *moments) == ["deny", "allow"]


def test_any_of_the_windows_is_enough_and_without_one_nothing_matches() -> None:
    closed = window("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")
    now = window("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z")
    assert effects([closed, None, now], "2026-11-24T12:00:00Z") == ["allow"]
    assert effects([closed], "2026-11-24T12:00:00Z") == ["deny"]


@pytest.mark.parametrize(("start", "end"), [("01:30", "02:30"), ("02:00", "03:00"), ("22:00", "02:15")])
@pytest.mark.parametrize("change", [date(2026, 3, 29), date(2026, 10, 25)])
def test_maintenance_window_is_open_exactly_by_the_wall_clock(change: date, start: str, end: str) -> None:
    first = change - timedelta(days=7)
    last = first + timedelta(days=1) if end < start else first
    entry = MaintenanceWindow(
        start_time=f"{first}T{start}:00", end_time=f"{last}T{end}:00", recurrence="weekly", timezone="Europe/Berlin"
    )
    made = maintenance("sundays", entry)
    begin = datetime(change.year, change.month, change.day, tzinfo=BERLIN).timestamp() - 86_400
    for minute in range(3 * 24 * 60):
        local = datetime.fromtimestamp(begin + minute * 60, BERLIN)
        clock = f"{local:%H:%M}"
        if start < end:
            expected = local.date() == change and start <= clock < end
        else:
            morning = local.date() == change + timedelta(days=1) and clock < end
            expected = morning or (local.date() == change and clock >= start)
        assert made.holds(local) is expected, local


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (window("2026-01-02", "2026-01-02"), "not after"),
        (window("2026-01-02T04:00:00", "2026-01-02T03:00:00", recurrence="weekly"), "not after"),
        (window("2026-01-02", "2026-02-03", recurrence="monthly"), "at most 31 days"),
        (window("2026-01-02", "2026-12-31", recurrence="daily"), "at most 31 days"),
        (window("2026-01-02T22:00", "2026-01-09T04:00", recurrence="daily"), "at most 24 hours"),
        (window("soon", "2026-02-03"), "such as 2026-11-24T09:00:00Z$"),
        (window("22:00", "04:00"), "'22:00' is not a date .*; .* with its date, and recurrence: daily$"),
        (window("2026-01-02", "2026-01-03", timezone="Mars/Base"), "no time zone"),
    ],
)
def test_a_window_that_cannot_be_is_an_error(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        maintenance("a", MaintenanceWindow(**keys))


def test_a_denial_says_when_the_next_one_opens() -> None:
    sunday = window("2026-11-01T02:00:00", "2026-11-01T06:00:00", recurrence="weekly", timezone="Europe/Berlin")
    world = World(policy(maintenance_windows={"sundays": sunday}, global_policies=[ONLY]))
    ruling = world.ask("package_update", now="2026-11-24T12:00:00Z")
    assert "expected inside 'sundays' (opens Sun 2026-11-29 02:00 Europe/Berlin)" in ruling.reason
    assert ruling.opens_at == datetime(2026, 11, 29, 2, tzinfo=BERLIN).timestamp()


def test_a_deny_may_hold_in_a_window_alone() -> None:
    now = window("2026-11-24T10:00:00Z", "2026-11-24T14:00:00Z")
    rules = [rule("updates", "package_update"), {**ONLY, "name": "frozen", "allowed": False}]
    world = World(policy(require_approval_for_admin=False, maintenance_windows=[now], global_policies=rules))
    assert [world.ask("package_update", now=f"2026-11-24T{hour}:00:00Z").rules for hour in (12, 15)] == [
        ["frozen"],
        ["updates"],
    ]


@pytest.mark.parametrize(
    ("keys", "key", "found"),
    [
        (
            {"recurrence": "daily", "day_of_month": 4},
            "day_of_month",
            "warning: .* daily window .* day 4 of a month alone:",
        ),
        ({"recurrence": "daily", "day_of_month": 4, "days_of_week": [1]}, "day_of_month", "warning: .*is its weekday:"),
        (
            {"recurrence": "weekly", "day_of_month": 4},
            "day_of_month",
            "warning: .* alone, and only if that is its weekday:",
        ),
        ({"recurrence": "daily", "days_of_week": []}, "days_of_week", "lint: .*never opens: .* for each day$"),
        ({"recurrence": "weekly", "days_of_week": []}, "days_of_week", "lint: .* for the weekday of its start$"),
        ({"recurrence": "monthly", "days_of_week": [None]}, "days_of_week", "lint: .* for any weekday$"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_lint_reports_days_on_which_a_repeated_window_opens_seldom_or_never(
    keys: dict[str, Any], key: str, found: str, *, named: bool
) -> None:
    shown = window("2026-01-04T02:00", "2026-01-04T04:00", **keys)
    file = file_of(global_policies=[ONLY], maintenance_windows={"w": shown} if named else [{"name": "w", **shown}])
    _, [finding] = compile_policy(file, CATALOGUE)
    assert finding.keys == ("policies", "maintenance_windows", "w" if named else 0, key)
    assert re.match(found, f"{finding.severity}: {finding.message}")
