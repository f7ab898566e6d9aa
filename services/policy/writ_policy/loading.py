"""Policy files read, compiled and linted: a policy that decides, or every mistake with its place."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from msgspec import Struct

from writ_contracts.operations import Catalogue
from writ_policy.config import Mode
from writ_policy.engine.compile import Policy, compile_policy
from writ_policy.engine.findings import Finding, Severity
from writ_policy.engine.format import PolicyFile
from writ_runtime import shapes, yamlfile
from writ_runtime.config import ConfigError
from writ_runtime.documents import Document, FileErrors, Problem
from writ_runtime.logs import Log

Value = TypeVar("Value")
ATTEMPTS = 5

_log = Log("writ.policy")


class Read(Struct, Generic[Value], frozen=True):
    """What a file says, and the SHA-256 of exactly the bytes that say so."""

    value: Value
    digest: str


def load_policy(path: Path, catalogue: Catalogue, mode: Mode) -> Policy:
    """The policy in a file. Raises FileErrors with all that is wrong with it; warnings go to the log."""
    document = yamlfile.read(path)
    policy, warnings = compile_document(document, catalogue, mode)
    for problem in warnings:
        _log.warning("policy.lint", finding=str(problem))
    _log.info("policy.loaded", path=str(path), name=policy.name, rules=policy.rules)
    return policy


def compile_document(document: Document, catalogue: Catalogue, mode: Mode) -> tuple[Policy, list[Problem]]:
    """The policy in a document and its warnings. Raises FileErrors."""
    policy, findings = compile_policy(shapes.convert(document, PolicyFile), catalogue)
    refused = {Severity.ERROR, Severity.LINT} if mode == "strict" else {Severity.ERROR}
    errors = [_problem(document, finding) for finding in findings if finding.severity in refused]
    if policy is None or errors:
        raise FileErrors(*sorted(errors, key=lambda problem: (problem.line, problem.column)))
    return policy, [_problem(document, finding) for finding in findings]


def _problem(document: Document, finding: Finding) -> Problem:
    return document.problem(finding.keys, finding.message, at_key=finding.at_key)


def with_digest(read: Callable[[Path], Value]) -> Callable[[Path], Read[Value]]:
    """The reader that also names the bytes: read again if the file changed under its hands. Raises ConfigError."""

    def exactly(path: Path) -> Read[Value]:
        for _ in range(ATTEMPTS):
            before = _digest(path)
            value = read(path)
            if _digest(path) == before:
                return Read(value, before)
        raise ConfigError(f"{path}: changes faster than it can be read")

    return exactly


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from error
