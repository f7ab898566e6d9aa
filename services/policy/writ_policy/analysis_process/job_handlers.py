"""The work of the analysis process: each job from its texts alone, without state."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from writ_contracts.errors import ConfigError, Invalid, WritError
from writ_contracts.operations import Catalogue
from writ_contracts.policy.access import PolicyAllowedQuery, PolicyDiffReply, PolicyWhoCanQuery
from writ_contracts.policy.questions import PolicyTestQuery, PolicyTestReply, PolicyValidateQuery
from writ_contracts.policy.versions import document_in
from writ_documents import yaml_file
from writ_documents.document import Document, FileErrors, FileProblem
from writ_policy.analysis_process.jobs import (
    LARGEST_ANSWER,
    DocumentCheck,
    Job,
    JobResult,
    Kind,
    ProposedDocument,
    first_missing,
    less_of,
)
from writ_rules import replies
from writ_rules.analysis.lockout import lockouts
from writ_rules.engine.clauses.patterns import KEPT
from writ_rules.engine.compile import Policy
from writ_rules.engine.decisions.reach import about
from writ_rules.lint.installation_lint import lint_with
from writ_rules.loading import Mode, compile_document, compile_proposal, shaped
from writ_rules.policy_reader import SMALL, collection_paused
from writ_rules.prepared import prepared
from writ_rules.setting import PolicySource, Setting, setting
from writ_rules.validation import ValidationContext, validate_text
from writ_runtime.files.watched_file import refusal
from writ_trust.digests import plain_digest

MOST_MEMORY = 2 << 30
"""Bytes of the process."""
MOST_PROBLEMS = 200


def perform(job: Job, catalogue: Catalogue) -> JobResult:
    """Carry out the job. Mistakes in the question become part of the answer."""
    work: Mapping[Kind, Callable[[Job, Catalogue], Struct]] = {  # all but `check`
        "validate": _validate,
        "test": _test,
        "allowed": _allowed,
        "who_can": _who_can,
        "diff": _diff,
        "names": _names,
    }
    try:
        if job.kind == "check":
            found, known = _check(job, catalogue)
            return JobResult(answer=Raw(fitting(found)), prepared=known)
        return JobResult(answer=Raw(fitting(work[job.kind](job, catalogue))))
    except WritError as error:
        return JobResult(code=error.code, message=str(error)[:1000])
    except MemoryError:
        return JobResult(code="oversize", message=f"it needs too much memory: {less_of(job.kind)}")


def fitting(answer: Struct) -> bytes:
    """Return the answer's bytes. Its longest list is cut to fit one message, which `bounded` states."""
    data = msgspec.json.encode(answer)
    while len(data) > LARGEST_ANSWER:
        name = max(answer.__struct_fields__, key=lambda one: len(msgspec.json.encode(getattr(answer, one))))
        items = getattr(answer, name)
        if not isinstance(items, list) or len(items) < 2:
            raise Invalid(
                "the reply is too large for one message: query fewer targets, principals or operations", code="oversize"
            )
        changed: dict[str, Any] = {name: items[: len(items) // 2]}
        if hasattr(answer, "bounded") and name != "bounded":
            changed["bounded"] = [f"{len(items) // 2} of {len(items)} {name} listed", *getattr(answer, "bounded", ())]
        answer = msgspec.structs.replace(answer, **changed)
        data = msgspec.json.encode(answer)
    return data


def _validate(job: Job, catalogue: Catalogue) -> Struct:
    query = msgspec.json.decode(job.query, type=PolicyValidateQuery)
    among = ValidationContext(
        targets=job.targets, principals=job.principals, people=job.people(), only_warn=True, now=job.now
    )
    return replies.validated(
        validate_text(document_in(query.document), "policy", catalogue, query.mode or job.mode, among)
    )


def _test(job: Job, catalogue: Catalogue) -> Struct:
    query = msgspec.json.decode(job.query, type=PolicyTestQuery)
    try:
        document = document_in(query.document) if query.document else job.policy
        source = _source(document, catalogue, job.mode if query.document else "permissive")
    except FileErrors as errors:
        return PolicyTestReply(problems=replies.problems_of(errors))
    return replies.run_suite(query.suite, source, _among(job, source, catalogue))


def _allowed(job: Job, catalogue: Catalogue) -> Struct:
    query = msgspec.json.decode(job.query, type=PolicyAllowedQuery)
    return replies.allowed(_in_force(job, catalogue), query, now=job.now)


def _who_can(job: Job, catalogue: Catalogue) -> Struct:
    query = msgspec.json.decode(job.query, type=PolicyWhoCanQuery)
    return replies.who_can(_in_force(job, catalogue), query, now=job.now)


def _diff(job: Job, catalogue: Catalogue) -> Struct:
    old, new = job.others
    try:
        documents = _document(old, "old"), _document(new, "new")
    except FileErrors as errors:
        return PolicyDiffReply(problems=replies.problems_of(errors))
    return replies.compared(*documents, catalogue, _in_force(job, catalogue), now=job.now)


def _check(job: Job, catalogue: Catalogue) -> tuple[DocumentCheck, bytes]:
    query = msgspec.json.decode(job.query, type=ProposedDocument)
    text = document_in(query.document)
    KEPT.clear()
    with collection_paused():
        try:
            policy, warnings = compile_proposal(_document(text, query.name), catalogue, job.mode)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - a defect of the loader refuses the document, too
            return _refused(query.name, refusal(error, query.name)), b""
        found = lockouts(policy, job.principals, job.now, job.people())
    if not found:
        return DocumentCheck(), _prepared(policy, warnings, text)
    names = " or ".join(one.operation for one in found)
    checked = DocumentCheck(
        reason=f"the {query.name} would lock this installation: nobody could ever carry out {names}",
        problems=[(1, 1, f"{one.operation}: {one.why}"[:500]) for one in found],
    )
    return checked, b""


def _prepared(policy: Policy, warnings: list[FileProblem], text: str) -> bytes:
    """Return the policy for the service, which would otherwise have the document parsed again."""
    data = text.encode(errors="surrogatepass")
    if len(data) <= SMALL:
        return b""
    try:
        return zlib.compress(prepared(policy, warnings, plain_digest(data)), level=1)
    except (ValueError, OverflowError):  # a value that MessagePack lacks: the service compiles the document
        return b""


def _names(job: Job, catalogue: Catalogue) -> Struct:
    file = shaped(_document(document_in(job.policy), "policy"), catalogue, "permissive")
    found = lint_with(file, catalogue, targets=job.targets, principals=job.principals, people=job.people())
    return first_missing(found)


def _refused(name: str, error: ConfigError) -> DocumentCheck:
    """Return a reason, which is recorded and names only the place. The mistakes may quote the document, and are sent
    only to its author.
    """
    if not isinstance(error, FileErrors):
        return DocumentCheck(reason=f"the {name} does not load", problems=[(1, 1, str(error))])
    problems = [(problem.line, problem.column, problem.message[:500]) for problem in error.found]
    first = error.found[0]
    many = f"{len(problems)} mistakes, the first" if len(problems) > 1 else "a mistake"
    reason = f"the {name} does not load: {many} in line {first.line}, column {first.column}"
    return DocumentCheck(reason=reason, problems=problems[:MOST_PROBLEMS])


def _in_force(job: Job, catalogue: Catalogue) -> Setting:
    return _among(job, _source(job.policy, catalogue, "permissive"), catalogue)


def _among(job: Job, source: PolicySource, catalogue: Catalogue) -> Setting:
    known = setting(source.policy, catalogue, job.targets, job.principals)
    limited = known.principals.get(job.seen_by)
    policy = known.policy if limited is None else about(known.policy, limited)
    return msgspec.structs.replace(known, policy=policy, people=job.people())


def _source(text: str, catalogue: Catalogue, mode: Mode) -> PolicySource:
    document = _document(text, "policy")
    return PolicySource(document, *compile_document(document, catalogue, mode))


def _document(text: str, name: str) -> Document:
    return yaml_file.parse(text.encode(errors="surrogatepass"), name)
