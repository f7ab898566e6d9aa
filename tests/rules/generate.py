"""Policies, questions and facts by chance: mostly well-typed, all keys of the format, one small world.

Everything comes from a `random.Random` (or Hypothesis' stand-in for it), so a seed is a case.
"""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from tests.rules.small_world import CONTROL, INVENTORY, PARAMETERS, PEOPLE, REQUIRED, ROLES

Data = dict[str, Any]

SOURCES = ("list_services", "list_packages", "list_ports", "list_file_roots", "list_everything")
WORDS = {str: "string", int: "int", float: "float", bool: "bool", list: "list", dict: "dict"}
SCANNERS = ("vulnerabilities", "secrets")
PATTERNS = ("[a-z]+", "^[a-z]+$", ".*", "/srv/.*", "nginx|ssh", "(?i)NGINX", ".*PRIVATE.*", "\\w{1,3}", "[^/]*", "\\d+")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
DATES = ("2026-11-24", "2026-11-24T12:00:00Z", "2026-11-25", "2025-01-01")
TUESDAY = datetime(2026, 11, 24, 12, tzinfo=UTC)
CHANGES = (
    datetime(2026, 3, 29, 1, tzinfo=UTC),
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 11, 1, 6, tzinfo=UTC),
)


def some(r: Random, items: Any, most: int = 3) -> list[Any]:
    return r.sample(list(items), r.randint(1, min(most, len(items))))


def holed(r: Random, items: list[Any]) -> list[Any]:
    """Return the list, now and then with a null, as `- # comment` leaves one."""
    return [*items, None] if r.random() < 0.05 else items


def moment(r: Random) -> datetime:
    near = r.choice((TUESDAY, TUESDAY, TUESDAY, *CHANGES))
    return near + timedelta(minutes=r.choice((0, 0, r.randint(-120, 120), r.randint(-10_000, 10_000))))


def constraint(r: Random, values: list[Any]) -> Data:
    kind = type(values[0])
    if r.random() < 0.04:  # somebody's mistake
        kind = r.choice((str, int, float, bool, list, dict))
    word = WORDS[kind]
    scalars: list[Any] = [value for value in values if not isinstance(value, list | dict)]
    scalars += [None, 1, True, 60.0, "nginx"] if r.random() < 0.3 else []
    can: Data = {
        "type": lambda: word if r.random() < 0.9 else r.choice(("int", "float", "string", "bool")),
        "required": lambda: r.random() < 0.7,
        "default": lambda: r.choice(values) if r.random() < 0.9 else r.choice((None, "", 10_000, True)),
    }
    if kind in (int, float):
        can |= {"min": lambda: r.choice((1, 5, 0.5, 60)), "max": lambda: r.choice((5, 60, 60.0, 100, 300))}
    if kind in (str, list):
        can |= {"min_length": lambda: r.randint(0, 3), "max_length": lambda: r.randint(0, 10)}
    if kind is str:
        can |= {"pattern": lambda: r.choice(PATTERNS)}
    if kind in (str, int) and r.random() < 0.8:
        can |= {"allowlist_source": lambda: r.choice(SOURCES)}
    if kind not in (list, dict) and scalars:
        can |= {
            "allowed_values": lambda: holed(r, some(r, scalars, 4)),
            "denied_values": lambda: holed(r, some(r, scalars, 2)),
        }
    if kind is list and (items := [item for value in values if isinstance(value, list) for item in value]):
        can |= {"allowed_items": lambda: holed(r, some(r, [*items, 1, "x"], 3))}
        can |= {"required_items": lambda: holed(r, some(r, items if r.random() < 0.9 else [1, "x"], 2))}
    chosen = {key: can[key]() for key in some(r, can, 2)}
    if "allowlist_source" in chosen and r.random() < 0.5:
        chosen["max_age"] = r.choice((30, "2m", 120.5))
    return chosen


def constraints(r: Random, operations: list[str]) -> Data:
    known: dict[str, list[Any]] = {}
    for operation in operations:
        known |= PARAMETERS[operation]
    if r.random() < 0.05:
        known |= {"no_such": [1], "env": [{}]}
    return {name: constraint(r, known[name]) if r.random() < 0.97 else None for name in some(r, known, 2)}


def window(r: Random) -> Data:
    hours = ("00:00", "08:00", "11:30", "12:00", "12:01:30", "18:00", "23:00")
    found: Data = {}
    if r.random() < 0.8:
        found |= {"start_time": r.choice(hours), "end_time": r.choice((*hours, "24:00"))}
    if r.random() < 0.4:
        found["days_of_week"] = holed(r, some(r, (*range(8), "mon", "fri", "sun"), 5))
    if r.random() < 0.6:
        found["timezone"] = r.choice(ZONES)
    if r.random() < 0.15:
        found["from"] = r.choice(("2026-11-24", "2026-11-25", "2026-01-01", "9999-12-31"))
    if r.random() < 0.15:
        found["until"] = r.choice(("2026-11-24", "2026-11-23", "2026-12-31", "9999-12-31"))
    return found


def maintenance(r: Random, number: int) -> Data:
    start = r.choice((TUESDAY, datetime(2026, 1, 31, 22, tzinfo=UTC), *CHANGES)) - timedelta(hours=r.randint(0, 30))
    # Over an hour: a change of the clock takes an hour from a local window, and an empty one does not load.
    recurrence = r.choice((None, "none", "daily", "weekly", "weekly", "monthly"))
    end = start + timedelta(minutes=r.choice((61, 240, 1380 if recurrence == "daily" else 1560)))
    shape = "%Y-%m-%dT%H:%M:%S" + r.choice(("", "Z", "+02:00"))
    found: Data = {"name": f"m{number}", "start_time": start.strftime(shape), "end_time": end.strftime(shape)}
    found["timezone"] = r.choice(ZONES)
    if recurrence is not None:
        found["recurrence"] = recurrence
    if recurrence in ("daily", "weekly") and r.random() < 0.6:
        found["days_of_week"] = holed(r, some(r, (*range(8), "tue", "sat")))
    if recurrence == "monthly" and r.random() < 0.6:
        found["day_of_month"] = r.choice((1, 24, 25, 29, 31))
    return found


def attributes(r: Random) -> Data:
    can: Data = {
        "criticality": lambda: r.choice(("high", "low", ["high", "low"], {"type": "string"}, {"pattern": "h.*"}, 1)),
        "cores": lambda: r.choice(
            (
                8,
                [2, 8],
                {"min": 4},
                {"max": 4, "type": "int"},
                {"denied_values": [8]},
                {"allowed_values": ["8"]},
                {"denied_values": ["8", True]},
            )
        ),
        "load": lambda: r.choice((0.5, {"max": 1}, {"type": "float"})),
        "encrypted": lambda: r.choice((True, False, {"allowed_values": [True]}, {"type": "bool"}, 1)),
    }
    return {name: can[name]() for name in some(r, can, 2)}


def approval(r: Random) -> Data:
    def step() -> Data:
        return {"approvers": some(r, ("approver", "lead", "sre"), 2), "quorum": r.choice((1, 1, 2))}

    shape = r.random()
    if shape < 0.2:
        return {}
    if shape < 0.6:
        return step() | ({"timeout": "30m"} if r.random() < 0.3 else {})
    return {"steps": holed(r, [step() for _ in range(r.randint(1, 2))])} | (step() if r.random() < 0.3 else {})


def scan(r: Random) -> Data:
    found: Data = {"scanner": r.choice(SCANNERS)}
    if r.random() < 0.7:
        found["severity"] = r.choice(("low", "medium", "high", "critical"))
    if r.random() < 0.5:
        found["present"] = r.random() < 0.5
    if r.random() < 0.4:
        found["max_age"] = r.choice((60, "1h", "2d"))
    return found


def rule(r: Random, name: str, *, section: str) -> Data:
    operations = some(r, PARAMETERS)
    found: Data = {"name": name, "operations": holed(r, operations), "allowed": r.random() < 0.75}
    keys: list[tuple[str, float, Any]] = [
        ("enabled", 0.05, lambda: r.random() < 0.5),
        ("target_roles", 0.15, lambda: holed(r, some(r, ROLES))),
        ("targets", 0.12, lambda: some(r, ("web-1", "web-*", "*-1", "?b-1", "*", "writ"))),
        ("target_tags", 0.1, lambda: some(r, ("web", "eu", "db"))),
        ("users", 0.1, lambda: some(r, PEOPLE, 4)),
        ("user_roles", 0.1, lambda: some(r, ("operator", "sre", "lead", "assistant"))),
        ("principal_kinds", 0.1, lambda: some(r, ("human", "agent", "service"), 2)),
        ("effective_from", 0.04, lambda: r.choice(DATES)),
        ("expires_at", 0.04, lambda: r.choice(DATES)),
        ("parameter_constraints", 0.45, lambda: constraints(r, operations)),
        ("time_restrictions", 0.2, lambda: holed(r, [window(r) for _ in range(r.randint(1, 2))])),
        ("maintenance_windows_only", 0.08, lambda: r.random() < 0.9),
        ("target_attributes", 0.12, lambda: attributes(r)),
        ("scans", 0.1, lambda: holed(r, [scan(r) for _ in range(r.randint(1, 2))])),
        ("requires_approval", 0.15, lambda: r.random() < 0.8),
        ("approval", 0.15, lambda: approval(r)),
        ("approval_timeout", 0.05, lambda: 30),
        ("operation_timeout", 0.1, lambda: r.choice((3, 30, 100))),
        ("max_concurrent", 0.05, lambda: 1),
        ("max_targets", 0.05, lambda: 2),
        ("emergency_overridable", 0.3, lambda: r.random() < 0.8),
        ("inherit", 0.2, lambda: r.random() < 0.5),
    ]
    found |= {key: value() for key, chance, value in keys if r.random() < chance}
    if section in (*ROLES, "gateway") and "target_roles" in found:
        found["target_roles"] = [section]  # one that names others doesn't load
    return without_items(found)


def without_items(rule: Data) -> Data:
    """Take the checks of lists out of a deny rule, which doesn't load with them."""
    for each in rule.get("parameter_constraints", {}).values():
        if each is not None and not rule["allowed"]:
            each.pop("allowed_items", None)
            each.pop("required_items", None)
    return rule


def policy(r: Random) -> Data:
    names = iter(f"r{number}" for number in range(100))

    def rules(least: int, most: int, section: str) -> list[Data | None]:
        return holed(r, [rule(r, next(names), section=section) for _ in range(r.randint(least, most))])

    found: Data = {"name": "generated", "global_policies": rules(1, 6, "global")}
    found["role_policies"] = {role: rules(0, 2, role) for role in (*ROLES, "gateway") if r.random() < 0.5}
    if r.random() < 0.4:
        found["emergency_policies"] = rules(0, 3, "emergency")
    for key, chance in (("deny_by_default", 0.25), ("require_approval_for_admin", 0.4), ("enable_dry_run", 0.3)):
        if r.random() < chance:
            found[key] = False
    if r.random() < 0.05:
        found[r.choice(("effective_from", "expires_at"))] = r.choice(("2026-11-24", "2026-12-01T00:00:00+01:00"))
    if r.random() < 0.5:
        windows = [maintenance(r, number) for number in range(r.randint(1, 2))]
        named = {found.pop("name"): found for found in [dict(each) for each in windows]}
        found["maintenance_windows"] = named if r.random() < 0.3 else holed(r, windows)
    return {"policies": found}


def question(r: Random, about: Data) -> Data:
    """Return a question, mostly about subjects of the policy's rules."""
    rules = [rule for rule in about["policies"]["global_policies"] if rule]
    known = [name for rule in rules for name in rule["operations"] if name] or list(PARAMETERS)
    operation = r.choice(known) if r.random() < 0.8 else r.choice(list(PARAMETERS))
    target = "writ" if operation in CONTROL else r.choice(INVENTORY["targets"])["id"]
    values = {
        name: r.choice(values) for name, values in PARAMETERS[operation].items() if name in REQUIRED or r.random() < 0.4
    }
    if r.random() < 0.03:
        operation, target = r.choice((("service_dance", target), (operation, "web-9")))
    if r.random() < 0.03:
        values[r.choice((*values, "colour"))] = r.choice((None, -1, {}, "", True))
    for name in ("version", "mode", "memory", "cpus", "principal"):
        if name in values and r.random() < 0.2:
            values[name] = None
    return {
        "principal": r.choice(PEOPLE) if r.random() < 0.99 else "mallory",
        "operation": operation,
        "target": target,
        "parameters": values,
        "at": moment(r).isoformat(),
        "emergency": r.random() < 0.3,
        "approvals": [r.choice((*PEOPLE, "mallory")) for _ in range(r.choice((0, 0, 1, 2, 3, 4)))],
        "dry_run": r.random() < 0.1,
        "own": operation == "audit_read" and r.random() < 0.1,
    }


def facts(r: Random, at: float) -> Data:
    """Return listings of the target and reports of scanners about it."""
    listings: Data = {}
    for source in SOURCES:
        shape = r.random()
        if shape < 0.5:
            age = r.choice((0, 10, 60, 61, 119, 500))
            names = some(r, ("nginx", "ssh.service", "22", "60", "/srv", "/srv/", "postgresql"), 5)
            listings[source] = {"names": names, "at": at - age, "failure": ""}
        elif shape < 0.6:
            listings[source] = {"names": [], "at": at, "failure": "nobody answered"}
    scans: Data = {}
    for scanner in SCANNERS:
        if r.random() < 0.7:
            severities = [r.choice(("low", "medium", "high", "critical")) for _ in range(r.randint(0, 2))]
            findings = [{"id": f"f{n}", "severity": each, "found_at": at} for n, each in enumerate(severities)]
            scans[scanner] = {"at": at - r.choice((0, 50, 3000, 90_000)), "findings": findings}
    return {"listings": listings, "scans": scans}
