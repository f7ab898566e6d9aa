"""Lint windows: those that never open, or on other days than they seem to."""

from collections.abc import Iterator
from typing import Any

from writ_rules.engine.policy_file.findings import Keys, LintFinding, Severity
from writ_rules.engine.policy_file.format import MaintenanceWindow, PlacedRule, PolicyEntry, present

_ALL_DAYS = {"daily": "each day", "weekly": "the weekday of its start", "monthly": "any weekday"}


def of_policy(policy: PolicyEntry) -> Iterator[LintFinding]:
    """Yield findings for the maintenance windows."""
    windows = policy.maintenance_windows
    for at, window in windows.items() if isinstance(windows, dict) else enumerate(windows or ()):
        keys: Keys = ("policies", "maintenance_windows", at)
        for key in ("days_of_week", "day_of_month"):
            if window is not None and window.recurrence in (None, "none") and getattr(window, key) is not None:
                text = "the window comes once: without a recurrence this is ignored"
                yield LintFinding(Severity.WARNING, (*keys, key), text)
        if window is not None and window.recurrence not in (None, "none"):
            yield from _repeated(keys, window)


def _repeated(keys: Keys, window: MaintenanceWindow) -> Iterator[LintFinding]:
    """Yield findings for the days of a window that comes again."""
    if window.days_of_week is not None and not present(window.days_of_week):
        text = f"a window without days never opens: leave out 'days_of_week' for {_ALL_DAYS[str(window.recurrence)]}"
        yield LintFinding(Severity.LINT, (*keys, "days_of_week"), text, new_only=True)
    if window.day_of_month is not None and window.recurrence != "monthly":
        among = ", and only if that is its weekday" if window.recurrence == "weekly" or window.days_of_week else ""
        text = f"with this the {window.recurrence} window opens on day {window.day_of_month} of a month alone{among}"
        yield LintFinding(
            Severity.WARNING, (*keys, "day_of_month"), f"{text}: leave it out, or write `recurrence: monthly`"
        )
    yield from _workdays(keys, window.days_of_week)


def of_rule(item: PlacedRule, policy: PolicyEntry) -> Iterator[LintFinding]:
    """Yield findings for the windows of a rule."""
    windows = policy.maintenance_windows
    if item.entry.maintenance_windows_only and not present(windows.values() if isinstance(windows, dict) else windows):
        keys = (*item.keys, "maintenance_windows_only")
        yield LintFinding(Severity.LINT, keys, "the policy has no maintenance window: the rule never matches")
    for at, window in enumerate(item.entry.time_restrictions or ()):
        if window is None or window.days_of_week is None:
            continue
        keys = (*item.keys, "time_restrictions", at)
        if not present(window.days_of_week):
            yield LintFinding(Severity.LINT, (*keys, "days_of_week"), "a window without days never opens")
        yield from _workdays(keys, window.days_of_week)


def _workdays(keys: Keys, days: list[Any] | None) -> Iterator[LintFinding]:
    """Yield a finding for days 0 to 4: from 0 = Monday these are the workdays, here they are Sunday to Thursday."""
    if set(present(days)) == set(range(5)):
        text = "0 is Sunday, so these are Sunday to Thursday; Monday to Friday are [1, 2, 3, 4, 5]"
        yield LintFinding(Severity.WARNING, (*keys, "days_of_week"), text)
