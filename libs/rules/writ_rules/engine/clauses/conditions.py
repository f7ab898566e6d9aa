"""A rule's conditions: on parameters, time, attributes of the target, and facts.

A condition which can't be judged errs, and an erring rule denies. A condition certain to fail outweighs it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from writ_contracts.evaluators import Evaluator, Question
from writ_rules.engine.clauses.case import ABSENT, SECRET, Case, show
from writ_rules.engine.clauses.checks import Check, TypeCheck, UnanswerableCheck
from writ_rules.engine.clauses.listings import AllowlistSource
from writ_rules.engine.clauses.scopes import ClauseMiss
from writ_rules.engine.facts import Severity
from writ_rules.engine.policy_file.times import Occasion, wall_clock, when_text

MOST_CLOSINGS = 30
"""Windows after one another that are followed to the end of all of them."""
SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")


class Condition(Protocol):
    """One condition of a rule."""

    def miss(self, case: Case) -> ClauseMiss | None:
        """Return None when the condition holds for the request."""


class TimeCondition(Struct, frozen=True, eq=False):
    """One of the windows is open; `clause` is the key of the format."""

    windows: tuple[Occasion, ...]
    expected: str
    clause: str = "time_restrictions"

    def miss(self, case: Case) -> ClauseMiss | None:
        """Judge each window by the wall clock of its own zone."""
        for window in self.windows:
            if window.holds(case.local(window.zone)):
                return None
        if not self.windows:
            return ClauseMiss(self.clause, self.expected, ABSENT)
        return ClauseMiss(self.clause, self.expected, when_text(case.local(self.windows[0].zone)))

    def opens(self, at: float) -> tuple[float, str] | None:
        """Return the first opening after `at`, also for people; None if there is none in sight."""
        openings = [moment for window in self.windows if (moment := window.opens(at)) is not None]
        return (min(openings).timestamp(), when_text(min(openings))) if openings else None

    def closes(self, at: float) -> datetime | None:
        """Return the first end after `at` at which none of the windows is open; None if there is none in sight."""
        end = None
        for _ in range(MOST_CLOSINGS):
            moment = at if end is None else end.timestamp()
            local = [wall_clock(moment, window.zone) for window in self.windows]
            held = [window for window, here in zip(self.windows, local, strict=True) if window.holds(here)]
            if not held:
                return end
            ends = [window.closes(moment) for window in held]
            end = max((one for one in ends if one is not None), default=None)
            if end is None or len([one for one in ends if one is not None]) < len(ends):
                return None
        return None


class ParameterCondition(Struct, frozen=True, eq=False):
    """One parameter's constraint, judged on the caller's value, else `default`, else the catalogue's default.

    `implied`: no rule says it; it follows from the parameters that the rule names, and those that it does not.
    """

    name: str
    default: Any
    required: bool
    checks: tuple[Check, ...]
    listed: AllowlistSource | None = None
    implied: bool = False

    def miss(self, case: Case) -> ClauseMiss | None:
        """Return the first failing check; an absent parameter fails `required` and nothing else."""
        fills = self.default is not None and self.name not in case.parameters
        value = self.default if fills else case.effective.get(self.name)
        if value is None:
            return ClauseMiss(f"{self.name}.required", "a value", ABSENT) if self.required else None
        erred = None
        for check in self.checks:
            try:
                if check.holds(value):
                    continue
            except UnanswerableCheck as error:  # another check may still fail for certain
                erred = erred or ClauseMiss(
                    f"{self.name}.{check.clause}", self._expected(case, check), str(error), erred=True
                )
            else:
                return ClauseMiss(
                    f"{self.name}.{check.clause}", self._expected(case, check), case.show(self.name, value)
                )
        return erred if self.listed is None else self._listed(self.listed, case, value, erred)

    def _expected(self, case: Case, check: Check) -> str:
        return check.expected if self.name in case.public or not check.tells else SECRET

    def _listed(self, listed: AllowlistSource, case: Case, value: Any, erred: ClauseMiss | None) -> ClauseMiss | None:
        clause = f"{self.name}.allowlist_source"
        try:
            if not listed.holds(value, case):
                return ClauseMiss(clause, listed.expected, case.show(self.name, value))
        except UnanswerableCheck as error:
            if erred is None:
                return ClauseMiss(clause, listed.expected, str(error), erred=True, need=error.need)
            return msgspec.structs.replace(erred, need=error.need)
        return erred


class AttributeCondition(Struct, frozen=True, eq=False):
    """A typed attribute of the target. An absent or incomparable value never allows: it errs in a deny rule."""

    name: str
    expected: str
    deny: bool
    checks: tuple[Check, ...]

    def miss(self, case: Case) -> ClauseMiss | None:
        clause = f"target_attributes.{self.name}"
        value = case.request.target.attributes.get(self.name)
        if value is None:
            return ClauseMiss(clause, self.expected, ABSENT, erred=self.deny)
        certain, comparable = self._compare(value)
        if certain is None and comparable:
            return None
        return ClauseMiss(clause, self.expected, show(value), erred=self.deny and certain is None)

    def can_judge(self, value: Any) -> bool:
        """Return whether the result for a target with this value is certain."""
        certain, comparable = self._compare(value)
        return comparable or certain is False

    def _compare(self, value: Any) -> tuple[bool | None, bool]:
        """Return False if the value certainly fails, and whether it can be compared at all."""
        comparable = True
        for check in self.checks:
            try:
                if check.holds(value):
                    continue
            except UnanswerableCheck:
                comparable = False
                continue
            if not isinstance(check, TypeCheck):
                return False, comparable
            comparable = False
        return None, comparable


class ScanCondition(Struct, frozen=True, eq=False):
    """A condition on a scanner's latest report of the target."""

    scanner: str
    severity: Severity
    present: bool
    max_age: float
    expected: str

    def miss(self, case: Case) -> ClauseMiss | None:
        """Judge by the scanner's report; without a fresh one the condition errs."""
        clause = f"scans.{self.scanner}"
        report = case.facts.scans.get(self.scanner)
        if report is None:
            return ClauseMiss(clause, self.expected, "has not reported on the target", erred=True)
        if not abs(case.at - report.at) <= self.max_age:
            return ClauseMiss(clause, self.expected, f"the report is {case.at - report.at:.0f} s old", erred=True)
        least = SEVERITIES.index(self.severity)
        count = sum(SEVERITIES.index(finding.severity) >= least for finding in report.findings)
        return None if (count > 0) is self.present else ClauseMiss(clause, self.expected, f"{count} of them")


class EvaluatorCondition(Struct, frozen=True, eq=False):
    """A condition judged by a plugin's evaluator, on the public parameters alone, so its reason reveals no secret."""

    name: str
    evaluator: Evaluator
    options: Any
    expected: str

    def miss(self, case: Case) -> ClauseMiss | None:
        """Judge by the evaluator's result; anything but true, false or a reason errs."""
        clause = f"evaluators.{self.name}"
        try:
            answer: object = self.evaluator.holds(_question(case), self.options)
            got = show(answer) if isinstance(answer, str) else "no"
        except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code: its error denies in the rule's scope
            return ClauseMiss(clause, self.expected, f"raised {type(error).__name__}", erred=True)
        if answer is True:
            return None
        if answer is False or isinstance(answer, str):
            return ClauseMiss(clause, self.expected, got)
        return ClauseMiss(clause, self.expected, f"answered {type(answer).__name__}", erred=True)


def _question(case: Case) -> Question:
    request = case.request
    parameters: Mapping[str, Any] = {name: value for name, value in case.effective.items() if name in case.public}
    return Question(
        operation=request.operation.name,
        risk=request.operation.risk,
        target=request.target,
        principal=request.principal,
        parameters=parameters,
        at=request.at,
    )
