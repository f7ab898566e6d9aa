"""Problems of policies in the forms of CI systems: GitHub's workflow commands, and SARIF 2.1.0. Pure."""

from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from writ_contracts.policy.questions import PolicyProblem
from writ_contracts.version import VERSION

LEVELS = {"error": "error", "lint": "error", "warning": "warning"}


class ValidatedFile(Struct, frozen=True, kw_only=True):
    """One file as `-o json` has it. Stable: fields may be added."""

    file: str
    valid: bool
    name: str
    rules: int
    problems: list[PolicyProblem]


def github(found: Iterable[ValidatedFile]) -> Iterator[str]:
    """Yield a workflow command for each problem, which GitHub shows at its line.

    Line ends and the signs of the command itself are escaped (docs.github.com, "Workflow commands"): a message quotes
    the document, which could otherwise give commands to the runner.
    """
    for each in found:
        for problem in each.problems:
            place = f"file={_property(problem.file or each.file)},line={problem.line},col={problem.column}"
            yield f"::{LEVELS.get(problem.severity, 'notice')} {place}::{_data(problem.message)}"


def sarif(found: Iterable[ValidatedFile]) -> dict[str, Any]:
    """Return the log of one run. Rules are the severities of Writ: `error`, `lint` and `warning`."""
    results = [_result(problem, problem.file or each.file) for each in found for problem in each.problems]
    driver = {
        "name": "writ policy validate",
        "version": VERSION,
        "rules": [{"id": severity} for severity in sorted({result["ruleId"] for result in results})],
    }
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    }


def _result(problem: PolicyProblem, file: str) -> dict[str, Any]:
    region = {"startLine": max(problem.line, 1), "startColumn": max(problem.column, 1)}
    location = {"physicalLocation": {"artifactLocation": {"uri": _uri(file)}, "region": region}}
    return {
        "ruleId": problem.severity,
        "level": LEVELS.get(problem.severity, "note"),
        "message": {"text": problem.message},
        "locations": [location],
    }


def _uri(file: str) -> str:
    return quote(PurePath(file).as_posix())


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
