"""Answers of validation, suites and analysis, in the structs that cross the wire and that `-o json` shows."""

from pathlib import Path
from typing import TypeVar

import msgspec

from writ_contracts.errors import Invalid
from writ_contracts.operations import Catalogue
from writ_contracts.policy_access import (
    PolicyAccess,
    PolicyAllowedAnswer,
    PolicyAllowedQuery,
    PolicyDiffAnswer,
    PolicyWhoCanAnswer,
    PolicyWhoCanQuery,
)
from writ_contracts.policy_questions import (
    FailedCase,
    PolicyProblem,
    PolicyTestAnswer,
    PolicyValidateAnswer,
    RuleCovered,
)
from writ_documents import shapes, yaml_file
from writ_documents.document import Document, FileErrors
from writ_rules.analysis import access
from writ_rules.analysis.diff import diff
from writ_rules.analysis.question_space import QuestionSpace
from writ_rules.coverage import Coverage
from writ_rules.engine.findings import Severity
from writ_rules.engine.format import PolicyFile
from writ_rules.loading import compile_document
from writ_rules.setting import PolicySource, Setting, setting
from writ_rules.suite_runs import Prepared, Result, run_suites
from writ_rules.suites import SuiteEntry, cases_of, principals_of, suite_of, targets_of
from writ_rules.validating import FileFinding, Validation

MOST_FAILURES = 1000
Item = TypeVar("Item")


def validated(found: Validation) -> PolicyValidateAnswer:
    """A validation, told."""
    return PolicyValidateAnswer(
        valid=found.valid, name=found.name, rules=found.rules, problems=[_problem(said) for said in found.found]
    )


def problems_of(errors: FileErrors) -> list[PolicyProblem]:
    """All that is wrong with a file."""
    return [_problem(FileFinding(Severity.ERROR, problem)) for problem in errors.found]


def _problem(said: FileFinding) -> PolicyProblem:
    problem = said.problem
    return PolicyProblem(
        severity=said.severity.value,
        line=problem.line,
        column=problem.column,
        message=problem.message,
        excerpt=problem.excerpt,
        file=problem.file,
    )


def run_suite(text: str, source: PolicySource, among: Setting) -> PolicyTestAnswer:
    """A suite, run on a policy among what there is, or among what the suite makes up itself; no file is looked at."""
    try:
        document = yaml_file.parse(text.encode(errors="surrogatepass"), "suite")
        entry = suite_of(document)
        among = _made_up(entry, among)
        cases = cases_of(document, entry, source, among)
    except FileErrors as errors:
        return PolicyTestAnswer(problems=problems_of(errors))
    runs = run_suites([Prepared(name="suite", source=source, setting=among, cases=cases)])
    failures = runs.suites[0].failures
    coverage = runs.coverage[0]
    return PolicyTestAnswer(
        cases=len(cases),
        failed=len(failures),
        failures=[failed(result) for result in failures[:MOST_FAILURES]],
        coverage=covered(coverage),
        percent=coverage.percent,
    )


def _made_up(entry: SuiteEntry, among: Setting) -> Setting:
    nowhere = Path()
    return setting(
        among.policy,
        among.catalogue,
        among.targets.values() if isinstance(entry.inventory, str) else targets_of(nowhere, entry),
        among.principals.values() if isinstance(entry.principals, str) else principals_of(nowhere, entry),
    )


def failed(result: Result) -> FailedCase:
    """A case that was not decided as it says, told."""
    return FailedCase(
        case=result.case.name,
        title=result.case.title,
        line=result.case.place.line,
        decision=result.decision,
        code=result.code,
        rules=result.rules,
        reason=result.reason,
        wrong=result.wrong,
        file=result.case.place.file,
    )


def covered(coverage: Coverage) -> list[RuleCovered]:
    """What was seen of each rule, told."""
    return [
        RuleCovered(
            rule=rule.rule,
            section=rule.section,
            line=rule.line,
            decided=rule.decided,
            not_matched=rule.missed,
            covered=rule.covered,
            lacks=rule.lacks,
        )
        for rule in coverage.rules
    ]


def allowed(here: Setting, query: PolicyAllowedQuery, *, now: float) -> PolicyAllowedAnswer:
    """What is allowed, by the policy alone: stops and emergencies in force are not looked at. Raises Invalid."""
    wanted = access.AccessQuery(
        operations=None if query.operations is None else tuple(query.operations),
        role=query.role,
        target=query.target,
        principal=query.principal,
        principal_role=query.principal_role,
        at=query.at,
        around=now,
    )
    found = access.allowed(here.policy, scene(here), wanted)
    return PolicyAllowedAnswer(
        accesses=_told(found.accesses, list[PolicyAccess]),
        bounded=found.bounded,
        since=now if query.at is None else None,
    )


def who_can(here: Setting, query: PolicyWhoCanQuery, *, now: float) -> PolicyWhoCanAnswer:
    """Who may do an operation at all, or exactly this request where parameters are given. Raises Invalid."""
    if query.parameters is not None and query.target is None:
        raise Invalid("parameters are of one request: name its target, too", code="invalid")
    wanted = access.AccessQuery(
        role=query.role, target=query.target, at=query.at, around=now, parameters=query.parameters
    )
    found = access.who_can(here.policy, scene(here), query.operation, wanted)
    return PolicyWhoCanAnswer(
        accesses=_told(found.accesses, list[PolicyAccess]),
        bounded=found.bounded,
        since=now if query.at is None else None,
    )


def compared(
    old: Document, new: Document, catalogue: Catalogue, among: Setting | None, *, now: float
) -> PolicyDiffAnswer:
    """What the new policy decides differently; among what there is, or among targets and principals made up for it."""
    problems: list[PolicyProblem] = []
    for document in (old, new):
        try:
            compile_document(document, catalogue, "permissive")
        except FileErrors as errors:
            problems += problems_of(errors)
    if problems:
        return PolicyDiffAnswer(problems=problems)
    files = [shapes.convert(document, PolicyFile) for document in (old, new)]
    found = diff(files[0], files[1], QuestionSpace(catalogue=catalogue) if among is None else scene(among), now)
    return _told(found, PolicyDiffAnswer)


def scene(here: Setting) -> QuestionSpace:
    """What an analysis is about."""
    return QuestionSpace(
        catalogue=here.catalogue,
        targets=tuple(here.targets.values()),
        principals=tuple(here.principals.values()),
    )


def _told(value: object, kind: type[Item]) -> Item:
    """The same fields in the struct of the wire."""
    return msgspec.convert(msgspec.to_builtins(value), kind)
