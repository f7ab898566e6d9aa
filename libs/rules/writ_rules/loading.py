"""Load a policy file: compile and lint it. The result is a policy ready to decide, or every mistake with its
position.
"""

from collections.abc import Callable, Mapping, Set
from typing import Any, Literal

from msgspec import UNSET, Struct, convert, structs

from writ_contracts.operations import Catalogue
from writ_documents import shapes
from writ_documents.document import MOST, Document, FileErrors, FileProblem, Keys
from writ_rules.engine.compile import Policy, compile_policy
from writ_rules.engine.policy_file.findings import LintFinding, Severity
from writ_rules.engine.policy_file.format import PolicyDocument, RuleEntry
from writ_rules.engine.policy_file.groups import placed
from writ_rules.lint.policy_lint import lint

Mode = Literal["strict", "permissive"]
"""The mode of validation: `strict` refuses a policy for lint findings, `permissive` warns; enforcement is the same."""
REFUSED: Mapping[Mode, Set[Severity]] = {
    "strict": {Severity.ERROR, Severity.LINT},
    "permissive": {Severity.ERROR},
}
"""Severities for which a file is refused."""
WINDOWS = ("policies", "maintenance_windows")
_FILL: Mapping[type[Struct], Mapping[str, Any]] = {RuleEntry: {"operations": [], "allowed": False}}


def compile_document(
    document: Document,
    catalogue: Catalogue,
    mode: Mode,
    *,
    compared: bool = True,
    on_pattern: Callable[[int], None] | None = None,
) -> tuple[Policy, list[FileProblem]]:
    """Return the policy in a document and its warnings. Raises FileErrors.

    `compared`: with the lint of rules beside each other, as of every document but a stored version. `on_pattern`
    receives the size of each pattern once it is compiled.
    """
    policy, own, others = _compiled(document, catalogue, mode, compared=compared, on_pattern=on_pattern)
    return policy, [_problem(document, finding) for finding in (*own, *others)]


def compile_proposal(document: Document, catalogue: Catalogue, mode: Mode) -> tuple[Policy, list[FileProblem]]:
    """Return the policy in a document that somebody proposes, and the warnings of the version that it would become.
    Raises FileErrors, also for the lint of rules beside each other, which is not repeated for a stored version.
    """
    policy, own, _ = _compiled(document, catalogue, mode, compared=True)
    return policy, [_problem(document, finding) for finding in own]


def _compiled(
    document: Document,
    catalogue: Catalogue,
    mode: Mode,
    *,
    compared: bool,
    on_pattern: Callable[[int], None] | None = None,
) -> tuple[Policy, list[LintFinding], list[LintFinding]]:
    """Return the policy, the findings in single rules, and those of rules beside each other, without their positions:
    in a large file, to find these takes as long as to read it. Raises FileErrors.
    """
    file = shaped(document, catalogue, mode)
    policy, own = compile_policy(file, catalogue, on_pattern)
    others = [] if policy is None or not compared else lint(file, catalogue, own)
    grave = [one for one in (*own, *others) if one.severity in REFUSED[mode]]
    errors = [_problem(document, finding) for finding in grave if compared or not finding.new_only]
    if policy is None or errors:
        raise FileErrors(*sorted(errors, key=lambda problem: (problem.line, problem.column)))
    if grave:
        policy = structs.replace(policy, excused=tuple(str(_problem(document, finding)) for finding in grave))
    return policy, own, others


def checked_document(document: Document, catalogue: Catalogue) -> Policy:
    """Return the policy in a document, without the lint of rules beside each other. Raises FileErrors as mode
    `permissive` does.
    """
    return _compiled(document, catalogue, "permissive", compared=False)[0]


def shaped(document: Document, catalogue: Catalogue, mode: Mode) -> PolicyDocument:
    """Return the file's structure. Raises FileErrors, also with the mistakes in the well-formed parts."""
    try:
        return shapes.convert(document, PolicyDocument)
    except FileErrors as error:
        if len(error.found) >= MOST:
            raise
        raise FileErrors(*error.found, *_in_what_fits(document, catalogue, mode)) from error


def _in_what_fits(document: Document, catalogue: Catalogue, mode: Mode) -> list[FileProblem]:
    """Return mistakes in the well-formed parts of a file; of an incomplete rule, only those which hold for any missing
    part.
    """
    data = shapes.without_mistakes(document.data, PolicyDocument, _FILL)
    if data is UNSET:
        return []
    file = convert(data, PolicyDocument)
    parts = [item.keys for item in placed(file.policies)]
    whole = {keys for keys in parts if _at(data, keys) == _at(document.data, keys)}
    windows = _at(data, WINDOWS) == _at(document.data, WINDOWS)
    _, findings = compile_policy(file, catalogue)
    return [
        _problem(document, finding)
        for finding in findings
        if finding.severity is Severity.ERROR
        or (finding.severity in REFUSED[mode] and _is_so(finding.keys, whole, windows=windows))
    ]


def _is_so(keys: Keys, whole: Set[Keys], *, windows: bool) -> bool:
    """Return whether a finding holds for the file as written, and not just for its remainder. `windows`: those of the
    policy.
    """
    if keys[-1] == "maintenance_windows_only" and not windows:
        return False
    return keys[-2:-1] == ("operations",) or any(keys[: len(each)] == each for each in whole)


def _at(data: Any, keys: Keys) -> Any:
    """Return the value at these keys; None for none."""
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else data[key]
    return data


def findings_of(file: PolicyDocument, catalogue: Catalogue) -> tuple[Policy | None, list[LintFinding]]:
    """Return the policy, unless there is an error in it, and all findings."""
    policy, findings = compile_policy(file, catalogue)
    return policy, findings if policy is None else [*findings, *lint(file, catalogue, findings)]


def _problem(document: Document, finding: LintFinding) -> FileProblem:
    return document.problem(finding.keys, finding.message, at_key=finding.at_key)
