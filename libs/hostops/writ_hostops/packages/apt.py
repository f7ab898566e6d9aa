"""apt-get(8): its commands, simulations (`-s`) and the meaning of its failures. No question of it is answered."""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import dataclass, field
from typing import Callable, Dict, List, Mapping, Optional, Sequence, TypeVar

from writ_hostops import commands
from writ_hostops.commands import ProgramResult
from writ_hostops.errors import HostError
from writ_hostops.packages import dpkg
from writ_hostops.protocol import OperationCall
from writ_hostops.stop import CancelToken

Seen = TypeVar("Seen")
OPTIONS: Sequence[str] = ()
"""Options of every command; tests set another root here."""
ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBIAN_PRIORITY": "critical",
    "APT_LISTCHANGES_FRONTEND": "none",
    "NEEDRESTART_SUSPEND": "1",
}
_QUIET = (
    "-y",
    "-q",
    "-o", "Dpkg::Use-Pty=0",
    "-o", "DPkg::Options::=--force-confdef",
    "-o", "DPkg::Options::=--force-confold",
    "-o", "DPkg::Lock::Timeout=0",
    "-o", "APT::Update::Error-Mode=any",
)  # fmt: skip
# Not even apt's own caches and logs are written by a simulation.
_SIMULATED = (
    "-s",
    "-o", "Dir::Cache::pkgcache=",
    "-o", "Dir::Cache::srcpkgcache=",
    "-o", "Dir::Log::Planner=/dev/null",
    "-o", "Dir::Log::Solver=/dev/null",
)  # fmt: skip
SYSTEM = "the package system"
PREVIEW_PATIENCE = 3.0
"""Seconds of a preview's wait for other programs: meanwhile it has one of the few places for reads of the target."""
_LOCKED = re.compile(r"^E: (Could not get lock|Unable to (acquire|lock))", re.MULTILINE)
_REASONS = (
    (
        re.compile(r"^E: .*(\(13: Permission denied\)|are you root\?)", re.MULTILINE),
        "permission_denied",
        "the system does not let this user change packages",
    ),
    (
        re.compile(
            r"^E: (Unable to locate package|Version '.*' for '.*' was not found|Package '.*' has no inst)", re.MULTILINE
        ),
        "not_found",
        "apt knows no such package, or not in this version",
    ),
    (re.compile(r"^E: dpkg was interrupted", re.MULTILINE), "tool_failed", dpkg.INTERRUPTED),
    (
        re.compile(
            r"^(E: Unable to correct problems|E: Unmet dependencies|The following packages have unmet)", re.MULTILINE
        ),
        "tool_failed",
        "dependencies of the package are not available, or packages on the host are broken",
    ),
    (
        re.compile(r"^E: Held packages were changed", re.MULTILINE),
        "tool_failed",
        "it would change a package that is held on the host",
    ),
    (
        re.compile(r"^E: Essential packages were removed", re.MULTILINE),
        "tool_failed",
        "it would remove a package that the host cannot be without",
    ),
)
_STEP = re.compile(
    r"(Unpacking|Setting up|Removing|Purging configuration files for) ([a-z0-9][a-z0-9+.:-]*)( \([^)]*\))?"
)
_DONE = re.compile(r"(Inst|Remv|Purg) (\S+)(?: \[([^\]]*)\])?(?: \(([^ ]+) [^)]*\))?")
_KEPT_BACK = re.compile(
    r"^The following (?:packages have been kept back|upgrades have been deferred due to phasing):\n((?:  .*\n)*)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class AptStep:
    """One package of a simulation. `before` and `after` are versions, "" for none."""

    verb: str
    name: str
    before: str = ""
    after: str = ""

    def text(self) -> str:
        if self.verb == "install":
            return (
                f"install {self.name} {self.after}" if not self.before else f"{self.name} {self.before} to {self.after}"
            )
        return f"{self.verb} {self.name} {self.before}".strip()


@dataclass(frozen=True)
class Hook:
    """A command that apt runs before dpkg, by options and environment."""

    options: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


NO_HOOK = Hook()


def command(*words: str, simulate: bool = False) -> List[str]:
    """Return the argument vector."""
    return ["apt-get", *OPTIONS, *_QUIET, *(_SIMULATED if simulate else ()), *words]


def shown(*words: str) -> str:
    """Return the command for people."""
    return shlex.join(command(*words))


def simulate(stop: CancelToken, *words: str) -> List[AptStep]:
    """Return the steps that apt would take now, in order; HostError `not_found` or `tool_failed`. Takes no lock and
    changes nothing.
    """
    return steps(simulation(stop, *words))


def simulation(stop: CancelToken, *words: str) -> str:
    """Return the output of a simulation; see `simulate`."""
    ran = commands.run(command(*words, simulate=True), stop, environment=ENVIRONMENT)
    ran.refuse_stopped("the simulation")
    if ran.status:
        raise failure(ran, "apt would refuse this")
    return ran.whole("apt-get")


def steps(text: str) -> List[AptStep]:
    """Return the steps in the output of a simulation."""
    by_name: Dict[str, AptStep] = {}
    for line in text.splitlines():
        match = _DONE.match(line)
        if match:
            word, name, before, after = match.groups()
            verb = {"Inst": "install", "Remv": "remove", "Purg": "purge"}[word]
            # A purge comes as Remv and Purg.
            before = before or (by_name[name].before if name in by_name else "")
            by_name[name] = AptStep(verb, name, before or "", after or "" if verb == "install" else "")
    return list(by_name.values())


def kept_back(text: str) -> List[str]:
    """Return the packages that a simulated upgrade leaves alone: held ones, those whose update would remove another
    package or is not due on this host yet (phasing).
    """
    return sorted({name for found in _KEPT_BACK.finditer(text) for name in found.group(1).split()})


def change(call: OperationCall, *words: str, marked: Sequence[str] = (), hook: Hook = NO_HOOK) -> ProgramResult:
    """Make the change: wait for the lock, report each package, end with the operation. The caller reads the result from
    dpkg. `marked`: options by which apt's log names the operation. `hook` gets the steps that apt is about to carry
    out, under its locks.
    """

    first = ""

    def attempt() -> ProgramResult:
        nonlocal first
        line, first = _progress_reporter(call, first), commands.no_longer_waits(SYSTEM)
        # Not for its children: a daemon that a script has started lives on.
        return commands.run(
            command(*hook.options, *marked, *words),
            call.stop,
            environment={**ENVIRONMENT, **hook.environment},
            line=line,
            goes_on=dpkg.is_changing_packages,
        )

    return commands.while_busy(attempt, _is_locked, call.stop, call.progress, SYSTEM)


def beside_others(
    call: OperationCall, look: Callable[[], Seen], is_final: Callable[[Seen], bool], patience: float = math.inf
) -> Seen:
    """Return the reply of `look`. Beside another program at work on packages, apt may find them unfinished: then a
    reply counts only if it is final, and an error only if it is `not_found`. Else that program's end is waited for,
    `patience` seconds at most. HostError `busy`.
    """
    had_others = dpkg.is_at_work()
    try:
        seen = look()
        if is_final(seen) or not (had_others or dpkg.is_at_work()):
            return seen
    except HostError as error:
        if error.code in ("not_found", "cancelled", "timeout") or not (had_others or dpkg.is_at_work()):
            raise
    commands.while_busy(dpkg.is_at_work, bool, call.stop, call.progress, SYSTEM, "", patience)
    return look()


def _is_locked(ran: ProgramResult) -> bool:
    """Return whether another process holds the lock. A lock that this user may not open looks much the same."""
    return bool(ran.status and not ran.stopped and _LOCKED.search(ran.errors)) and "Permission denied" not in ran.errors


def has_begun(ran: ProgramResult) -> bool:
    """Return whether dpkg began with a package."""
    return any(_STEP.match(line) for line in ran.out.splitlines())


def failure(ran: ProgramResult, what: str, effect: str = "none") -> HostError:
    """Return the error for a failed command. apt's own text goes to `log`, the common reasons into the message."""
    code, reason = "tool_failed", f"{what} (exit status {ran.status})"
    for grammar, its_code, its_reason in _REASONS:
        if grammar.search(ran.errors + ran.out):
            code, reason = its_code, its_reason
            break
    return HostError(code, reason, effect=effect, output={"log": ran.log})


def _progress_reporter(call: OperationCall, first: str) -> "commands.Line":
    """Return a function that reports each package. `first`: its report of the first line, which apt writes once it has
    the lock.
    """

    def report(line: str) -> None:
        nonlocal first
        if first:
            call.progress(first)
            first = ""
        match = _STEP.match(line)
        if match:
            call.progress(match.group())

    return report


def only(planned: Sequence[AptStep], name: str) -> Optional[AptStep]:
    """Return the step of that very package; None without one."""
    return next((step for step in planned if step.name == name), None)
