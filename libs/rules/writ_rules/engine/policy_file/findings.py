"""Findings in a policy, each with its position in the file. All of them are collected, not just the first."""

from enum import StrEnum

from msgspec import Struct

Keys = tuple[str | int, ...]


class Severity(StrEnum):
    """`error`: the file can't be used. `lint`: a rule has no effect, or allows more than it says, which mode `strict`
    refuses. `warning`: a rule has less effect than it seems, or the file is risky.
    """

    ERROR = "error"
    LINT = "lint"
    WARNING = "warning"


class LintFinding(Struct, frozen=True):
    """One finding. `at_key`: it is about the key, not the value. `new_only`: stored versions, which may have passed the
    lint of an earlier release or with other plugins, are not refused for it. `to_come`: principals or targets that may
    come later would end it.
    """

    severity: Severity
    keys: Keys
    message: str
    at_key: bool = False
    new_only: bool = False
    to_come: bool = False
