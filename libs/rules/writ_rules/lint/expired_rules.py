"""Find policies, rules and windows that have expired."""

from collections.abc import Iterator
from contextlib import suppress

from writ_rules.engine.policy_file.findings import Keys, LintFinding, Severity
from writ_rules.engine.policy_file.format import PlacedRule, PolicyDocument
from writ_rules.engine.policy_file.groups import placed
from writ_rules.engine.policy_file.maintenance import maintenance
from writ_rules.engine.policy_file.times import Occasion, instant, when_text, window


def expired(file: PolicyDocument, at: float) -> Iterator[LintFinding]:
    """Yield a finding for each part that never counts again after `at` (Unix seconds). Other checks report mistakes in
    times.
    """
    until = file.policies.expires_at
    if until is not None and _is_past(until, at):
        yield _warning(("policies", "expires_at"), f"the policy expired at {until}: everything is denied")
    yield from _maintenance(file, at)
    for item in placed(file.policies):
        if item.entry.enabled:
            yield from _rule(item, at)


def _rule(item: PlacedRule, at: float) -> Iterator[LintFinding]:
    until, name = item.entry.expires_at, item.entry.name
    if until is not None and _is_past(until, at):
        yield _warning((*item.keys, "expires_at"), f"'{name}' expired at {until}: it never matches")
        return
    windows = [(number, each) for number, each in enumerate(item.entry.time_restrictions or ()) if each is not None]
    over: list[tuple[int, str]] = []
    for number, each in windows:
        with suppress(ValueError):
            over += [(number, text)] if (text := _end(window(each), at)) else []
    never = f": '{name}' never matches" if len(over) == len(windows) else ""
    for number, text in over:
        yield _warning((*item.keys, "time_restrictions", number), f"the window ended {text}{never}")


def _maintenance(file: PolicyDocument, at: float) -> Iterator[LintFinding]:
    windows = file.policies.maintenance_windows
    for key, entry in windows.items() if isinstance(windows, dict) else enumerate(windows or ()):
        if entry is None:
            continue
        with suppress(ValueError):
            if text := _end(maintenance(entry.name or str(key), entry), at):
                yield _warning(("policies", "maintenance_windows", key), f"the window ended {text}")


def _end(occasion: Occasion, at: float) -> str:
    end = occasion.ended
    return when_text(end) if end is not None and end.timestamp() <= at and not occasion.opens(at) else ""


def _is_past(text: str, at: float) -> bool:
    try:
        return instant(text) <= at
    except ValueError:
        return False


def _warning(keys: Keys, text: str) -> LintFinding:
    return LintFinding(Severity.WARNING, keys, text)
