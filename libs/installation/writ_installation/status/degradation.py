"""The reasons why an installation is not ready, from its status. Pure."""

import re

from msgspec import Struct

from writ_installation.status.control import InstallationStatus, ProcessStatus
from writ_installation.status.journal_usage import NO_NATS

NOT_OF_WRIT = ("targets", "success")
"""The checks whose cause is a host or a request: hosts out of reach, and operations that did not succeed. `status`
shows them, and Writ is not degraded by them.
"""
_places = re.compile(r"(?=(?<= )/[^ ;]+:\d+:\d+: )").split
"""Where the place of a mistake begins: an absolute path with line and column."""


class Degradation(Struct, frozen=True, kw_only=True):
    """A reason why the installation is not ready, for one process. `process`: empty where it is none's alone.

    `check`: the failing check of `/readyz`; empty for the state of the process. `since`: its first failure in Unix
    seconds; None where it is not known.
    """

    process: str
    check: str
    reason: str
    since: float | None = None


def degradations(status: InstallationStatus) -> dict[str, list[str]]:
    """Return the reasons why the installation is not ready, each once, with its processes."""
    found = dict[str, list[str]]()
    for one in degradations_by_process(status):
        found.setdefault(f"{one.check}: {one.reason}" if one.check else one.reason, []).extend(
            filter(None, [one.process])
        )
    return found


def degradations_by_process(status: InstallationStatus) -> list[Degradation]:
    """Return the reasons why the installation is not ready, for each process."""
    found = [one for process in status.processes for one in _of_process(process)]
    mistakes = {one for each in found for one in mistakes_of(each.reason)[1]}
    own = set(mistakes_of(status.problem)[1])
    named = any(status.problem in one.reason for one in found) or (own and own <= mistakes)
    if status.problem and not named:
        found.append(Degradation(process="", check="", reason=status.problem))
    if status.journal is None:
        no_journal = Degradation(process="", check="journal", reason=status.no_journal or NO_NATS)
        known = any((one.check, one.reason) == (no_journal.check, no_journal.reason) for one in found)
        found += [] if known else [no_journal]
    return found


def _of_process(one: ProcessStatus) -> list[Degradation]:
    found = [
        Degradation(process=one.name, check=check, reason=why, since=one.failing_since.get(check))
        for check, why in one.failing.items()
        if not (one.ready and check in NOT_OF_WRIT)
    ]
    return found or ([] if one.ready else [Degradation(process=one.name, check="", reason=one.state)])


def shown_state(status: InstallationStatus) -> str:
    """Return the state, which is `degraded` where a ready installation has a reason for that."""
    return "degraded" if status.state == "ready" and degradations(status) else status.state


def mistakes_of(reason: str) -> tuple[str, list[str]]:
    """Return what is before the mistakes of a file in a reason, and each mistake with its place."""
    head, *mistakes = _places(reason)
    return head.strip(), [one.removesuffix("; ") for one in mistakes]
