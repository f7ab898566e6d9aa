"""A second evaluator, written from docs/policy.md alone: slow, plain, and sharing nothing with the engine."""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.errors import Invalid
from writ_contracts.parameters import breakouts

Data = dict[str, Any]
OPERATIONS = {operation.name: operation for operation in BUILT_IN}
STRICTNESS, SEVERITIES = ("allow", "require_approval", "deny"), ("low", "medium", "high", "critical")
DAYS = {name: number for number, name in enumerate(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), 1)}
SOURCES = ("services", "file_roots", "containers", "stacks", "packages", "backups", "snapshots", "ports")
TYPES = {"string": str, "int": int, "float": int | float, "bool": bool, "list": list, "dict": dict}
OBLIGATIONS = ("requires_approval", "approval", "operation_timeout", "max_targets", "max_concurrent")
NO, NEEDS, ERRS, YES = range(4)  # a clause is false, lacks a list that nobody asked for, can't be judged, or holds


def answer(files: Data, request: Data, facts: Data) -> Data:
    """The decision on one question; `files` has policy, inventory and principals, `facts` listings and scans."""
    try:
        question = Question(files, request, facts)
    except (KeyError, Invalid):
        return {"decision": "invalid"}
    found = again = question.decide(question.given, question.effective)
    known = question.effective
    while found["decision"] != "deny" and again["effective_parameters"] != known:
        try:
            known = question.operation.check(again["effective_parameters"])
        except Invalid:
            return decision_data("deny", "rule_error", again["rules"], question.effective)
        again = question.decide(known, known)
        if found["decision"] == again["decision"]:
            found |= {key: found[key] | again[key] for key in ("limits", "demands")}
            found["timeout"] = min(found["timeout"], again["timeout"])
        found = max(found, again, key=lambda each: STRICTNESS.index(each["decision"])) | {"effective_parameters": known}
    return found


def decision_data(decision: str, code: str, rules: Iterable[str], effective: Data, **more: Any) -> Data:
    found = {"decision": decision, "code": code, "rules": sorted(rules), "effective_parameters": effective}
    return {**found, "limits": set(), "demands": set(), "timeout": None, **more}


def present(data: Any) -> Any:
    """Treat null as absent, at any place of the file."""
    if isinstance(data, dict):
        return {key: present(each) for key, each in data.items() if each is not None}
    return [present(each) for each in data if each is not None] if isinstance(data, list) else data


class Question:
    def __init__(self, files: Data, request: Data, facts: Data) -> None:
        targets = [*files["inventory"]["targets"], {"id": "writ", "role": "gateway"}]
        self.policy, self.asked, self.facts = present(files["policy"]["policies"]), request, facts
        self.people = {each["id"]: each for each in files["principals"]["principals"]}
        self.target = {each["id"]: each for each in targets}[request["target"]]
        self.person, self.operation = self.people[request["principal"]], OPERATIONS[request["operation"]]
        self.at = datetime.fromisoformat(request["at"]).timestamp()
        self.effective = self.operation.check(request["parameters"])
        self.given = {name: self.effective[name] for name in request["parameters"] if name in self.effective}

    def decide(self, given: Data, effective: Data) -> Data:
        """Lines 1 to 14, without 2: a stop is no matter of files."""
        if self.asked["own"]:
            return decision_data("allow", "own", [], effective)
        if self.asked["dry_run"] and not self.policy.get("enable_dry_run", True):
            return decision_data("deny", "dry_run_disabled", [], effective)
        if not self.in_force(self.policy):
            return decision_data("deny", "policy_inactive", [], effective)
        states = ((rule, kind, self.conditions(rule, given, effective)) for rule, kind in self.covering())
        judged = [(rule, kind, min(found, default=YES)) for rule, kind, found in states]
        brings = [(rule, kind) for rule, kind, state in judged if state == YES and self.on_names(rule, given)]
        judged = [(rule, kind, NO if (rule, kind) in brings else state) for rule, kind, state in judged]
        allows = [(rule, kind) for rule, kind, state in judged if rule["allowed"] and state == YES]
        urgent = [rule for rule, kind in allows if kind == "emergency"]
        against: dict[int, list[str]] = {YES: [], ERRS: [], NEEDS: []}
        for rule, kind, state in judged:
            aside = urgent and kind != "emergency" and (rule["allowed"] or rule.get("emergency_overridable"))
            if state != NO and not aside and not (rule["allowed"] and state == YES):
                against[state].append(rule["name"])
        for state, code in ((YES, "denied"), (ERRS, "rule_error"), (NEEDS, "facts_needed")):
            if against[state]:
                return decision_data("deny", code, against[YES] or against[ERRS] + against[NEEDS], effective)
        closed = judged or self.operation.control or self.flags(effective) or self.policy.get("deny_by_default", True)
        if all(kind == "inherited" for _, kind in allows) and closed:
            return decision_data("deny", "no_rule", [], effective)
        behind = [state for rule, kind, state in judged if rule["allowed"] and kind == "inherited"]
        if behind and YES not in behind and not urgent:
            return decision_data("deny", "outside_gateway_limits", [], effective)
        bringing = [rule for rule, kind in brings if not urgent or kind == "emergency"]
        return self.allowed([rule for rule, _ in allows], urgent, bringing, given, effective)

    def allowed(
        self, matching: list[Data], urgent: list[Data], bringing: list[Data], given: Data, effective: Data
    ) -> Data:
        """Lines 9 and 11 to 14."""
        names, filled, binding = [rule["name"] for rule in matching], Data(), (urgent or matching) + bringing
        for name, constraint in [pair for rule in matching for pair in self.constraints(rule)]:
            default = constraint.get("default")
            if default is not None and name not in given and typed(filled.setdefault(name, default)) != typed(default):
                return decision_data("deny", "rule_error", names, effective)
        demands = {self.steps(rule) for rule in binding if rule.get("requires_approval") or "approval" in rule}
        if self.operation.risk == "admin" and self.policy.get("require_approval_for_admin", True) and not urgent:
            demands.add(((("approver",), 1),))
        waits, names = not all(map(self.met, demands)), [rule["name"] for rule in binding]
        code = "approval_required" if waits else "approved" if demands else "allowed" if names else "allowed_by_default"
        decision, effective = "require_approval" if waits else "allow", effective | filled
        caps = [effective["timeout"], *(rule.get("operation_timeout") for rule in binding)]
        timeout = min((cap for cap in caps if isinstance(cap, int)), default=None)  # the schema refuses other defaults
        limits = {(rule["name"], key, rule[key]) for rule in binding for key in rule if key.startswith("max_")}
        return decision_data(decision, code, names, effective, limits=limits, demands=demands, timeout=timeout)

    def steps(self, rule: Data) -> Any:
        entry = rule.get("approval", {})
        found = [entry] * ("approvers" in entry or not entry.get("steps")) + entry.get("steps", [])
        return tuple(((*sorted({*one.get("approvers", [])} or {"approver"}),), one.get("quorum", 1)) for one in found)

    def met(self, demand: Any) -> bool:
        """Return true if the approvals, in order, suffice for each step; None stands for a missing one."""
        passed_over, waiting = {self.person["id"], self.person.get("acts_for", "")}, iter(self.asked["approvals"])
        voices = {name: person["roles"] for name, person in self.people.items() if person["kind"] == "human"}
        for roles in [roles for roles, quorum in demand for _ in range(quorum)]:
            fitting = (name for name in waiting if name not in passed_over and {*voices.get(name, ())} & {*roles})
            passed_over.add(next(fitting, None))
        return None not in passed_over

    def covering(self) -> Iterator[tuple[Data, str]]:
        """The rules whose scope has the request: the target's own, a gateway's (inherited), an emergency's."""
        mine, behind = self.target["role"], self.target["role"] != "gateway" and self.target.get("gateway") is not None
        sections = {"own": self.policy.get("global_policies", []), **self.policy.get("role_policies", {})}
        sections |= {"emergency": self.policy.get("emergency_policies", [])} if self.asked["emergency"] else {}
        for section, rules in sections.items():
            for rule in filter(self.covers, rules):
                if behind and section == "gateway" and rule.get("inherit", True):
                    yield rule, "inherited"
                elif mine in rule.get("target_roles", [section if section not in ("own", "emergency") else mine]):
                    yield rule, section

    def covers(self, rule: Data) -> bool:
        has = {"operations": [self.operation.name], "users": [self.person["id"]], "user_roles": self.person["roles"]}
        has |= {"principal_kinds": [self.person["kind"]], "target_tags": self.target.get("tags", [])}
        among = all({*rule[key]} & {*words} for key, words in has.items() if key in rule)
        globs = [re.escape(glob).replace(r"\*", ".*").replace(r"\?", ".") for glob in rule.get("targets", "*")]
        named = any(re.fullmatch(glob, self.target["id"], re.DOTALL) for glob in globs)
        return among and named and rule.get("enabled", True) and self.in_force(rule)

    def in_force(self, of: Data) -> bool:
        return instant(of.get("effective_from", "0002-01-01")) <= self.at < instant(of.get("expires_at", "9998-01-01"))

    def constraints(self, rule: Data) -> list[tuple[str, Data]]:
        known = self.operation.parameters.__struct_fields__
        return [(name, each) for name, each in rule.get("parameter_constraints", {}).items() if name in known]

    def conditions(self, rule: Data, given: Data, effective: Data) -> Iterator[int]:
        if windows := rule.get("time_restrictions"):
            yield YES * any(map(self.window_open, windows))
        if rule.get("maintenance_windows_only"):
            known = self.policy.get("maintenance_windows", [])
            yield YES * any(map(self.maintained, known.values() if isinstance(known, dict) else known))
        for name, expected in rule.get("target_attributes", {}).items():
            yield self.attribute(name, expected, rule["allowed"])
        yield from map(self.scanned, rule.get("scans", []))
        for name, constraint in self.constraints(rule):
            every = name == self.operation.all_without and given.get(name) is None
            if every and not rule["allowed"]:
                yield YES
            elif (value := given.get(name, constraint.get("default", effective.get(name)))) is not None:
                yield min([*self.checks(constraint, value, rule["allowed"]), self.allowlisted(constraint, value)])
            elif every:
                yield YES * any(rule.get(key, False) is not False for key in OBLIGATIONS)
            elif constraint.get("required") or {"allowed_items", "required_items"} & {*constraint}:
                yield NO
        yield from (NO for _ in self.flags(effective) - {*rule.get("parameter_constraints", {})} if rule["allowed"])

    def on_names(self, rule: Data, given: Data) -> bool:
        """Return true if it allows things by name, and the request is about all of them."""
        name = self.operation.all_without
        constraint = dict(self.constraints(rule)).get(name, {"default": name})
        return rule["allowed"] and given.get(name) is None and "default" not in constraint

    def flags(self, effective: Data) -> set[str]:
        return {name for name in breakouts(self.operation.parameters) if effective[name]}

    def scanned(self, scan: Data) -> int:
        report = self.facts["scans"].get(scan["scanner"])
        if report is None or not self.fresh(report["at"], scan.get("max_age", "24h")):
            return ERRS
        worst = max((SEVERITIES.index(each["severity"]) for each in report["findings"]), default=-1)
        return YES * ((worst >= SEVERITIES.index(scan.get("severity", "low"))) is scan.get("present", True))

    def allowlisted(self, constraint: Data, value: Any) -> int:
        source, expected = constraint.get("allowlist_source", ""), value if isinstance(value, list) else [value]
        fit = all(isinstance(item, str | int) and not isinstance(item, bool) for item in expected)
        if not source or not fit or source.removeprefix("list_") not in SOURCES:
            return ERRS if source else YES
        if (listing := self.facts["listings"].get(source)) is None:
            return NEEDS
        if listing["failure"] or not self.fresh(listing["at"], constraint.get("max_age", 60)):
            return ERRS
        return YES * all(self.is_listed(source, str(item), listing["names"]) for item in expected)

    def fresh(self, at: float, age: float | str) -> bool:
        most = int(age[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[age[-1]] if isinstance(age, str) else age
        return abs(at - self.at) <= most

    def is_listed(self, source: str, item: str, names: list[str]) -> bool:
        if source == "list_services":
            return not {item, item + ".service", item.removesuffix(".service")}.isdisjoint(names)
        if source == "list_file_roots":
            below = any(item == name or item.startswith(name.rstrip("/") + "/") for name in names)
            return below and (item == "/" or not {"", ".", ".."} & {*item.split("/")[1:]})
        return item in names

    def window_open(self, window: Data) -> bool:
        bounds = [window.get(key, "00:00").replace("24:00", "00:00") for key in ("start_time", "end_time")]
        start, end = (datetime.fromisoformat(f"2000-01-01T{bound}") for bound in bounds)
        return self.within(window, start, (end - start) % timedelta(1) or timedelta(1))

    def maintained(self, window: Data) -> bool:
        zone, bounds = ZoneInfo(window.get("timezone", "UTC")), [window["start_time"], window["end_time"]]
        if (often := window.get("recurrence", "none")) == "none":
            return instant(bounds[0], zone) <= self.at < instant(bounds[1], zone)
        written = [datetime.fromisoformat(text) for text in bounds]
        start, end = (each.astimezone(zone).replace(tzinfo=None) if each.tzinfo else each for each in written)
        usual = {"days_of_week": [start.isoweekday()]} if often == "weekly" else {"day_of_month": start.day}
        return self.within({"from": start.date().isoformat(), **usual, **window}, start, end - start)

    def within(self, window: Data, start: datetime, lasts: timedelta) -> bool:
        """Return true if a window began at that local time on one of its days, and still lasts."""
        now = datetime.fromtimestamp(self.at // 1, ZoneInfo(window.get("timezone", "UTC"))).replace(tzinfo=None)
        weekdays = {DAYS.get(each, each) % 7 or 7 for each in window.get("days_of_week", range(7))}
        days = [now.date() - timedelta(back) for back in range(32)]
        days = [day for day in days if window.get("from", "") <= day.isoformat() <= window.get("until", "9999-12-31")]
        days = [day for day in days if day.isoweekday() in weekdays and window.get("day_of_month", day.day) == day.day]
        return any(timedelta() <= now - datetime.combine(day, start.time()) < lasts for day in days)

    def checks(self, constraint: Data, value: Any, allowed: bool) -> Iterator[int]:
        single, sized = not isinstance(value, list | dict), isinstance(value, str | list | dict)
        number, flags = single and typed(value)[0] == "number", re.ASCII if allowed else re.ASCII | re.DOTALL
        table: dict[str, tuple[bool, Callable[[Any], bool]]] = {
            "type": (True, lambda kind: isinstance(value, TYPES[kind]) and (kind == "bool") == isinstance(value, bool)),
            "min": (number, lambda least: value >= least),
            "max": (number, lambda most: value <= most),
            "min_length": (sized, lambda least: len(value) >= least),
            "max_length": (sized, lambda most: len(value) <= most),
            "allowed_values": (single, lambda known: typed(value) in map(typed, known)),
            "denied_values": (single, lambda known: typed(value) not in map(typed, known)),
            "allowed_items": (isinstance(value, list), lambda _: True),
            "required_items": (isinstance(value, list), lambda items: {*map(typed, items)} <= {*map(typed, value)}),
            "pattern": (isinstance(value, str), lambda pattern: re.fullmatch(pattern, value, flags) is not None),
        }
        for each in value if "allowed_items" in constraint and isinstance(value, list) else ():
            yield from self.checks({"allowed_values": constraint["allowed_items"]}, each, allowed)
        for fits, holds, expected in [(*table[key], expected) for key, expected in constraint.items() if key in table]:
            kinds = {typed(each)[0] for each in expected} if single and isinstance(expected, list) else set()
            yield YES * holds(expected) if fits and (not kinds or typed(value)[0] in kinds) else ERRS

    def attribute(self, name: str, wanted: Any, allowed: bool) -> int:
        """Match as one value, one of a list, or by a constraint; an absent value never allows."""
        value, odd, found = self.target.get("attributes", {}).get(name), NO if allowed else ERRS, YES
        one_of = {"allowed_values": wanted if isinstance(wanted, list) else [wanted]}
        requested = (wanted if isinstance(wanted, dict) else one_of) if value is not None else {}
        for key, each in requested.items():
            state = min(self.checks({key: each}, value, allowed), default=YES)
            found = min(found, odd if each == [] or state == ERRS or (key == "type" and state == NO) else state)
        return odd if value is None else found


def typed(value: Any) -> tuple[str, Any]:  # a single value with its kind: 1 equals 1.0, and neither equals true
    return "truth" if isinstance(value, bool) else "text" if isinstance(value, str) else "number", value


def instant(text: str, zone: Any = UTC) -> float:
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=zone)).timestamp()
