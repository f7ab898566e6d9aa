"""Find rules that can never match, or that match less than they seem to. Only certain cases are reported."""

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta

from writ_contracts.ids import TOKEN_PATTERN
from writ_contracts.inventory import WRIT
from writ_rules.engine.clauses.patterns import glob
from writ_rules.engine.policy_file.findings import LintFinding, Severity
from writ_rules.engine.policy_file.format import present
from writ_rules.engine.policy_file.times import LAST_DAY, Window
from writ_rules.lint.rule_reading import RuleReading, Verbs
from writ_rules.values.automata import PatternComparisons
from writ_rules.values.domains import domain, impossible

_glob_of_ids = re.compile(r"(?:\**[A-Za-z0-9_?-]){0,64}\**").fullmatch
_id = re.compile(TOKEN_PATTERN).match
MOST_DAYS = 400
"""The longest dated window, in days, that is checked day by day."""


def vacuous(rule: RuleReading, verbs: Verbs, patterns: PatternComparisons) -> Iterator[LintFinding]:
    """Yield the reasons why the rule, or a part of it, can never match."""
    yield from _in_effect(rule)
    yield from _ids(rule)
    yield from _windows(rule)
    yield from _control(rule, verbs)
    yield from _parameters(rule, verbs, patterns)


def _in_effect(rule: RuleReading) -> Iterator[LintFinding]:
    if rule.since >= rule.until:
        text = f"vacuous: '{rule.name}' expires before it takes effect"
        yield LintFinding(Severity.LINT, (*rule.placed_rule.keys, "expires_at"), text)


def _ids(rule: RuleReading) -> Iterator[LintFinding]:
    """Yield findings for ids of targets and users that no id can be, such as a regular expression for a glob. In a deny
    rule such an id leaves what it means unprotected.
    """
    for key, fits in (("targets", _glob_of_ids), ("users", _id)):
        listed = getattr(rule.entry, key) or ()
        wrong = [(at, text) for at, text in enumerate(listed) if text is not None and not fits(text)]
        every = len(wrong) == len(present(listed))
        for at, text in wrong:
            why = f"no id is '{text}': ids have 1 to 64 letters, digits, - and _"
            why += "; write '*', which stands for any characters, in place of '.*'" if ".*" in text else ""
            keys = (*rule.placed_rule.keys, key, at)
            if every or not rule.entry.allowed:
                begin = f"vacuous: '{rule.name}' never matches" if every else "vacuous"
                yield LintFinding(Severity.LINT, keys, f"{begin}: {why}", new_only=True)
            else:
                yield LintFinding(Severity.WARNING, keys, why)


def _windows(rule: RuleReading) -> Iterator[LintFinding]:
    keys = (*rule.placed_rule.keys, "time_restrictions")
    listed = [(at, each) for at, each in enumerate(rule.entry.time_restrictions or ()) if each is not None]
    closed = [(at, why) for (at, _), window in zip(listed, rule.windows, strict=True) if (why := never_opens(window))]
    every = bool(closed) and len(closed) == len(rule.windows)
    for at, why in closed:
        text = f"the window never opens: {why}"
        if every:
            yield LintFinding(Severity.LINT, (*keys, at), f"vacuous: '{rule.name}' never matches, for {text}")
        else:
            yield LintFinding(Severity.WARNING, (*keys, at), text)


def never_opens(window: Window) -> str:
    """Return the reason why the window never opens; empty if it does, or if unknown."""
    if not window.days:
        return "it has no days"
    if window.first is None or window.last is None:
        return ""
    if window.first > window.last:
        return f"its last day, {window.last}, is before its first, {window.first}"
    days = (window.last - window.first).days + 1
    if days > MOST_DAYS:
        return ""
    starts = [day for ahead in range(days) if (day := window.first + timedelta(days=ahead)).weekday() in window.days]
    if not starts:
        return f"none of its days of the week is between {window.first} and {window.last}"
    if not any(_opens_on(window, day) for day in starts):
        return "clocks are set forward over it"
    return ""


def _opens_on(window: Window, day: date) -> bool:
    """Return whether the first or the last second of the window occurs on this day. A clock change never skips only the
    time between. At the ends of the calendar it is true.
    """
    if day.year < 3 or day > LAST_DAY:
        return True
    end = window.end if window.end > window.start else window.end + 86_400
    for second in (window.start, end - 1):
        clock = datetime(day.year, day.month, day.day, tzinfo=window.zone) + timedelta(seconds=second)
        if window.holds(datetime.fromtimestamp(clock.timestamp(), window.zone)):
            return True
    return False


def _control(rule: RuleReading, verbs: Verbs) -> Iterator[LintFinding]:
    """Yield findings for control operations, which act on Writ itself: one role, one id and no tags."""
    control = [name for name in rule.operations if verbs[name].operation.control]
    if not control:
        return
    entry = rule.entry
    why = ""
    if WRIT.role not in rule.roles:
        why = f"of role {WRIT.role}, which the rule leaves out"
    elif entry.targets is not None and not any(glob(text).covers(WRIT.id) for text in present(entry.targets)):
        why = "which its targets leave out"
    elif entry.target_tags is not None:
        why = "which has no tags"
    elif entry.allowed and entry.target_attributes:
        why = "which has no attributes"
    if not why:
        return
    text = f"{_names(control)} acts on target '{WRIT.id}', {why}"
    if len(control) == len(rule.operations):
        yield LintFinding(Severity.LINT, rule.placed_rule.keys, f"vacuous: '{rule.name}' never matches, for {text}")
    else:
        yield LintFinding(
            Severity.WARNING, rule.placed_rule.keys, f"'{rule.name}' never matches some operations: {text}"
        )


def _parameters(rule: RuleReading, verbs: Verbs, patterns: PatternComparisons) -> Iterator[LintFinding]:
    never: set[str] = set()
    reasons: list[tuple[str, str, str, bool]] = []
    for name, constraint in rule.constraints.items():
        for operation in rule.operations:
            if name not in verbs[operation].types:
                continue
            why = impossible(verbs[operation], name, constraint, patterns, deny=not rule.entry.allowed)
            if why is None:
                continue
            known = domain(verbs[operation], name)
            without = not constraint.needs_value and (
                known.nullable or (known.optional and known.default is None and constraint.default is None)
            )
            reasons.append((name, operation, why, without))
            never |= set() if without else {operation}
    whole = bool(never) and never == set(rule.operations)
    for name, operation, why, without in reasons:
        keys = (*rule.placed_rule.keys, "parameter_constraints", name)
        if whole and not without:
            yield LintFinding(Severity.LINT, keys, f"vacuous: '{rule.name}' never matches {operation}: {why}")
        else:
            rest = f"matches {operation} only without {name}" if without else f"never matches {operation}"
            yield LintFinding(Severity.WARNING, keys, f"'{rule.name}' {rest}: {why}")


def _names(names: Sequence[str]) -> str:
    return ", ".join(names)
