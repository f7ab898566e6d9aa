"""Validation of a policy file: mistakes and warnings together, each with severity and position."""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from writ_contracts.inventory import Principal, Target
from writ_contracts.operations import Catalogue
from writ_documents import yaml_file
from writ_documents.document import Document, FileErrors, FileProblem
from writ_rules.engine.people import People
from writ_rules.engine.policy_file.findings import LintFinding, Severity
from writ_rules.engine.policy_file.format import PolicyDocument, written
from writ_rules.lint.expired_rules import expired
from writ_rules.lint.installation_lint import as_warnings, lint_with
from writ_rules.loading import REFUSED, Mode, findings_of, shaped


class FileFinding(Struct, frozen=True):
    """One finding in a file."""

    severity: Severity
    problem: FileProblem


class ValidationContext(Struct, frozen=True, eq=False, kw_only=True):
    """Targets and principals a policy must fit, and the principals with their enrolled credentials; None: unknown.
    `only_warn`: as a service does, which loads the policy all the same. `now`: Unix seconds, to find what is over.
    `prepared`: a policy for people and targets to come: its rules may name them as long as they are unchanged.
    """

    targets: Sequence[Target] | None = None
    principals: Sequence[Principal] | None = None
    people: People | None = None
    only_warn: bool = False
    now: float | None = None
    prepared: PolicyDocument | None = None


NOTHING_KNOWN = ValidationContext()


class Validation(Struct, frozen=True, kw_only=True):
    """The findings of one file; `name` and `rules` are of the policy, where it could be read at all."""

    file: str
    valid: bool
    found: list[FileFinding]
    name: str = ""
    rules: int = 0


def validate_file(path: Path, catalogue: Catalogue, mode: Mode, among: ValidationContext = NOTHING_KNOWN) -> Validation:
    try:
        document = yaml_file.read(path)
    except FileErrors as errors:
        return _unreadable(str(path), errors)
    return validate(document, catalogue, mode, among)


def validate_text(
    text: str, name: str, catalogue: Catalogue, mode: Mode, among: ValidationContext = NOTHING_KNOWN
) -> Validation:
    """Validate the policy in a text; `name` stands for the file in positions."""
    try:
        document = yaml_file.parse(text.encode(errors="surrogatepass"), name)
    except FileErrors as errors:
        return _unreadable(name, errors)
    return validate(document, catalogue, mode, among)


def validate(
    document: Document, catalogue: Catalogue, mode: Mode, among: ValidationContext = NOTHING_KNOWN
) -> Validation:
    """Validate the policy in a document: valid if a service in this mode would load it, and it fits its
    installation.
    """
    try:
        entry = shaped(document, catalogue, mode)
    except FileErrors as errors:
        return _unreadable(document.name, errors)
    policy, findings = findings_of(entry, catalogue)
    if policy is not None:
        missing = lint_with(entry, catalogue, targets=among.targets, principals=among.principals, people=among.people)
        missing = _unprepared(missing, entry, among.prepared)
        findings = [*findings, *(as_warnings(missing) if among.only_warn else missing)]
        findings += [] if among.now is None else expired(entry, among.now)
    positioned = [
        FileFinding(finding.severity, document.problem(finding.keys, finding.message, at_key=finding.at_key))
        for finding in findings
    ]
    return Validation(
        file=document.name,
        valid=policy is not None and not any(entry.severity in REFUSED[mode] for entry in positioned),
        found=sorted(positioned, key=lambda entry: (entry.problem.line, entry.problem.column)),
        name=entry.policies.name,
        rules=0 if policy is None else policy.rules,
    )


def _unprepared(
    findings: list[LintFinding], file: PolicyDocument, prepared: PolicyDocument | None
) -> list[LintFinding]:
    """Return the findings, without principals and targets to come of unchanged rules of the prepared policy."""
    if prepared is None or prepared.policies.name != file.policies.name:
        return findings
    rules = [rule.entry for rule in written(prepared.policies)]
    unchanged = [rule.keys for rule in written(file.policies) if rule.entry in rules]
    return [one for one in findings if not one.to_come or not any(one.keys[: len(keys)] == keys for keys in unchanged)]


def _unreadable(name: str, errors: FileErrors) -> Validation:
    return Validation(file=name, valid=False, found=[FileFinding(Severity.ERROR, problem) for problem in errors.found])
