"""Replies of validation, suites and analysis, as the structs of the wire and of `-o json`."""

from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import structs

from writ_contracts.operations import Catalogue
from writ_contracts.policy.access import (
    PolicyAccess,
    PolicyAllowedQuery,
    PolicyAllowedReply,
    PolicyDiffReply,
    PolicyWhoCanQuery,
    PolicyWhoCanReply,
)
from writ_contracts.policy.questions import (
    CoveredRule,
    FailedCase,
    PolicyProblem,
    PolicyTestReply,
    PolicyValidateReply,
)
from writ_documents import yaml_file
from writ_documents.document import Document, FileErrors
from writ_rules.analysis import access
from writ_rules.analysis.diff import diff_of
from writ_rules.analysis.question_space import QuestionSpace
from writ_rules.coverage import Coverage
from writ_rules.engine.compile import Policy
from writ_rules.engine.policy_file.findings import Severity
from writ_rules.loading import checked_document
from writ_rules.rule_texts import changed_texts
from writ_rules.setting import PolicySource, Setting, setting
from writ_rules.suite_runs import PreparedSuite, SuiteResult, run_suites
from writ_rules.suites import SuiteEntry, cases_of, principals_of, suite_of, targets_of
from writ_rules.validation import FileFinding, Validation

MOST_FAILURES = 1000
Item = TypeVar("Item")


def validated(validation: Validation) -> PolicyValidateReply:
    return PolicyValidateReply(
        valid=validation.valid,
        name=validation.name,
        rules=validation.rules,
        problems=[_problem(finding) for finding in validation.found],
    )


def problems_of(errors: FileErrors) -> list[PolicyProblem]:
    return [_problem(FileFinding(Severity.ERROR, problem)) for problem in errors.found]


def _problem(finding: FileFinding) -> PolicyProblem:
    problem = finding.problem
    return PolicyProblem(
        severity=finding.severity.value,
        line=problem.line,
        column=problem.column,
        message=problem.message,
        excerpt=problem.excerpt,
        file=problem.file,
    )


def run_suite(text: str, source: PolicySource, among: Setting) -> PolicyTestReply:
    """Run a suite on a policy, with the installation's targets and principals or the suite's own; no file is read."""
    try:
        document = yaml_file.parse(text.encode(errors="surrogatepass"), "suite")
        entry = suite_of(document)
        among = _made_up(entry, among)
        cases = cases_of(document, entry, source, among)
    except FileErrors as errors:
        return PolicyTestReply(problems=problems_of(errors))
    runs = run_suites([PreparedSuite(name="suite", source=source, setting=among, cases=cases)])
    failures = runs.suites[0].failures
    coverage = runs.coverage[0]
    return PolicyTestReply(
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


def failed(result: SuiteResult) -> FailedCase:
    """Return a failed case in the form of the wire."""
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


def covered(coverage: Coverage) -> list[CoveredRule]:
    """Return the coverage of each rule in the form of the wire."""
    return [
        CoveredRule(
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


def allowed(here: Setting, query: PolicyAllowedQuery, *, now: float) -> PolicyAllowedReply:
    """Return the access the policy alone gives: stops and emergencies in force are ignored. Raises Invalid."""
    access_query = access.AccessQuery(
        operations=None if query.operations is None else tuple(query.operations),
        role=query.role,
        target=query.target,
        principal=query.principal,
        principal_role=query.principal_role,
        at=query.at,
        around=now,
    )
    listing = access.allowed(here.policy, question_space(here), access_query)
    return PolicyAllowedReply(
        accesses=_listed(listing.accesses, list[PolicyAccess]),
        bounded=listing.bounded,
        since=now if query.at is None else None,
    )


def who_can(here: Setting, query: PolicyWhoCanQuery, *, now: float) -> PolicyWhoCanReply:
    """Return the principals which may do an operation at all, or with exactly these parameters, on the target or on
    which of all targets. Raises Invalid.
    """
    access_query = access.AccessQuery(
        role=query.role, target=query.target, at=query.at, around=now, parameters=query.parameters
    )
    listing = access.who_can(here.policy, question_space(here), query.operation, access_query)
    return PolicyWhoCanReply(
        accesses=_listed(listing.accesses, list[PolicyAccess]),
        bounded=listing.bounded,
        since=now if query.at is None else None,
    )


def compared(
    old: Document, new: Document, catalogue: Catalogue, among: Setting | None, *, now: float
) -> PolicyDiffReply:
    """Compare two policies, with the installation's targets and principals or with synthetic ones."""
    problems: list[PolicyProblem] = []
    policies: list[Policy] = []
    for document in (old, new):
        try:
            policies.append(checked_document(document, catalogue))
        except FileErrors as errors:
            problems += problems_of(errors)
    if problems:
        return PolicyDiffReply(problems=problems)
    space = QuestionSpace(catalogue=catalogue) if among is None else question_space(among)
    result = diff_of(policies[0], policies[1], space, now)
    # Its name on the wire is another one, by which `_listed` does not find it.
    reply = structs.replace(_listed(result, PolicyDiffReply), compared=result.compared)
    texts, more = changed_texts(*(policy.source.policies for policy in policies))
    return structs.replace(reply, texts=texts, more_texts=more)


def question_space(here: Setting) -> QuestionSpace:
    return QuestionSpace(
        catalogue=here.catalogue,
        targets=tuple(here.targets.values()),
        principals=tuple(here.principals.values()),
    )


def _listed(value: object, kind: type[Item]) -> Item:
    """Convert a struct to the wire's struct with the same fields."""
    return msgspec.convert(msgspec.to_builtins(value), kind)
