"""package_install, package_update and package_remove: simulate, make the change, then read dpkg's own list.

The simulation decides: the name must mean exactly the named package, and an install or update of one package never
removes another.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from writ_hostops import privileges
from writ_hostops.commands import ProgramResult
from writ_hostops.errors import HostError
from writ_hostops.fields import Fields
from writ_hostops.packages import apt, dpkg
from writ_hostops.packages.apt import AptStep
from writ_hostops.packages.names import name_from, version_from
from writ_hostops.protocol import Call, HostReply, verdict, with_lack
from writ_hostops.stop import Stop, afterwards

REBOOT_REQUIRED = "/run/reboot-required"
INDEX = "/var/lib/apt/lists"
UPDATES = "/var/lib/dpkg/updates"
MOST_NAMED = 500


@dataclass(frozen=True)
class PackageArguments:
    """Parameters of a package operation. `name` "" is the index."""

    operation: str
    name: str
    version: str = ""
    purge: bool = False

    @property
    def removes(self) -> bool:
        """Return whether the package is to be removed."""
        return self.operation == "package_remove"

    def words(self) -> List[str]:
        """Return apt-get's arguments behind its options. By Debian's grammar a name is never an option; `--`
        precedes it all the same.
        """
        if not self.name:
            return ["update"]
        if self.removes:
            return ["purge" if self.purge else "remove", "--", self.name]
        more = ["--only-upgrade"] if self.operation == "package_update" else []
        if self.version and not more:
            more = ["--allow-downgrades"]
        return ["install", *more, "--", f"{self.name}={self.version}" if self.version else self.name]


def run(call: Call) -> HostReply:
    """Make the change. A package in the requested state is left alone (`version_before` is `version_after`, effect
    none).
    """
    arguments = _parse_arguments(call)
    if not arguments.name:
        return _fetch(call, arguments)
    before = dpkg.installed(call.stop, absent=arguments.purge)
    planned = _plan(call.stop, arguments, before)
    if not planned and _is_well(arguments, before):
        return _changed_answer(arguments, before, before, None)
    ran = apt.change(call, *_exact(arguments, planned))
    return _judged(arguments, planned, before, ran)


def preview(call: Call) -> HostReply:
    """Return the changes that apt would make now, package by package, by its own simulation."""
    arguments = _parse_arguments(call)
    if not arguments.name:
        fetch = HostReply(output={"would": "fetch the index again", "commands": [apt.shown(*arguments.words())]})
        return with_lack(fetch, privileges.packages())
    before = dpkg.installed(call.stop, absent=arguments.purge)
    planned = _plan(call.stop, arguments, before)
    step = apt.only(planned, arguments.name)
    would = HostReply(
        output={
            "package_name": arguments.name,
            "version_before": dpkg.version_of(before, arguments.name),
            "version_after": step.after
            if step
            else ""
            if arguments.removes
            else dpkg.version_of(before, arguments.name),
            "also_changed": _others(arguments.name, [one.name for one in planned]),
            "would": "; ".join(one.text() for one in planned[:MOST_NAMED]) or "nothing",
            "commands": [apt.shown(*_exact(arguments, planned))] if planned else [],
            **({"cut": True} if len(planned) > MOST_NAMED else {}),
        },
        state=_state(arguments, before),
    )
    return with_lack(would, privileges.packages())


def baseline(call: Call) -> HostReply:
    """Return the package as dpkg has it; for the index, the time of its last fetch."""
    state = _installed(call)[1]
    return HostReply(output=state, state=state)


def probe(call: Call) -> HostReply:
    """Judge by the installed version."""
    arguments, now = _installed(call)
    word, reason = judge(arguments, dict(call.baseline), now)
    return verdict(word, reason, now)


def judge(arguments: PackageArguments, before: Dict[str, Any], now: Dict[str, Any]) -> Tuple[str, str]:
    """Return succeeded, not_done or unknown, with the reason; a pure function of two states."""
    if not arguments.name:
        return ("unknown", "whether the index was fetched since is not known") if before == now or not before else (
            "succeeded", "the index was fetched again since")  # fmt: skip
    if now["status"] not in ("installed", "absent"):
        return "unknown", f"dpkg has it as {now['status']}"
    if arguments.removes:
        gone = now["status"] == "absent"
        return ("succeeded", "it is not installed") if gone else ("not_done", "it is installed")
    if arguments.version:
        there = now["version"] == arguments.version
        return ("succeeded", "it is in this version") if there else ("not_done", "it is not in this version")
    if now["status"] == "absent":
        return "not_done", "it is not installed"
    if before and before == now:
        done = arguments.operation == "package_install"
        return ("succeeded", "it is installed") if done else ("not_done", "it is as it was before")
    if not before and arguments.operation == "package_update":
        return "unknown", "there is no baseline to compare with"
    return "succeeded", "it is installed, and not as it was before"


def _plan(stop: Stop, arguments: PackageArguments, before: dpkg.Installed) -> List[AptStep]:
    """Return the steps that apt would take; HostError for a forbidden step."""
    if arguments.operation != "package_install" and arguments.name not in before:
        raise HostError("not_found", f"{arguments.name} is not installed", state=_state(arguments, before))
    _refuse_interrupted()
    planned = apt.simulate(stop, *arguments.words())
    step = apt.only(planned, arguments.name)
    if arguments.removes:
        if planned and (step is None or step.verb == "install"):
            raise HostError("not_found", f"apt would not remove {arguments.name}, but other packages")
        return planned
    others = [one.name for one in planned if one.verb != "install"]
    if others:
        raise HostError("tool_failed", f"it would remove other packages: {', '.join(others[:20])}")
    if step is None and (planned or arguments.name not in before):
        raise HostError(
            "not_found", f"apt knows no package {arguments.name}; a virtual package has to be named by a real one"
        )
    there = step.after if step else dpkg.version_of(before, arguments.name)
    if arguments.version and there != arguments.version:
        raise HostError("not_found", f"apt would not bring {arguments.name} to version {arguments.version}")
    return planned


def _refuse_interrupted() -> None:
    """Refuse while dpkg has interrupted work, as apt does before a change but not before a simulation. Numbered files
    are that work.
    """
    try:
        interrupted = any(name.isdigit() for name in os.listdir(UPDATES))
    except FileNotFoundError:  # no dpkg was ever at work here
        return
    if interrupted:
        raise HostError("tool_failed", apt.INTERRUPTED)


def _exact(arguments: PackageArguments, planned: Sequence[AptStep]) -> List[str]:
    """Return the command for exactly the simulated version, even if the index changes meanwhile."""
    step = apt.only(planned, arguments.name)
    if step is None or arguments.removes:
        return arguments.words()
    exact = PackageArguments(arguments.operation, arguments.name, arguments.version or step.after)
    words = exact.words()
    return [
        *words[:1],
        "--no-remove",
        *(word for word in words[1:] if arguments.version or word != "--allow-downgrades"),
    ]


def _judged(
    arguments: PackageArguments, planned: Sequence[AptStep], before: dpkg.Installed, ran: ProgramResult
) -> HostReply:
    """Judge by dpkg's list now, whatever apt's exit status."""
    with afterwards() as patience:
        after = dpkg.installed(patience, absent=arguments.purge)
    answer = _changed_answer(arguments, before, after, ran)
    if ran.stopped or ran.status:
        broken = dpkg.broken(after)
        unfinished = f"; dpkg could not finish {', '.join(broken[:20])}" if broken else ""
        effect = "maybe" if answer.effect == "done" and not ran.gone else answer.effect
        what = {"cancelled": "it was cancelled", "timeout": "its time was up"}.get(ran.stopped, "")
        failure = apt.failure(ran, "apt failed")
        code, message = ran.stopped or failure.code, f"{what or failure.message}{unfinished}"
        raise HostError(code, message, effect=effect, certain=ran.gone, output=answer.output, state=answer.state)
    if not _reached(arguments, planned, after):
        message = f"apt ended well, but {arguments.name} is not as it should be"
        raise HostError("tool_failed", message, effect=answer.effect, output=answer.output, state=answer.state)
    return answer


def _is_well(arguments: PackageArguments, packages: dpkg.Installed) -> bool:
    """Return whether there is nothing to do. Packages that dpkg could not finish before still need their setup."""
    package = packages.get(arguments.name)
    return arguments.removes or (package is not None and package.status == "installed")


def _reached(arguments: PackageArguments, planned: Sequence[AptStep], after: dpkg.Installed) -> bool:
    package, step = after.get(arguments.name), apt.only(planned, arguments.name)
    if arguments.removes:
        return package is None or (not arguments.purge and package.status == "config-files")
    right = step is None or (package is not None and package.version == step.after)
    return package is not None and package.status == "installed" and right


def _changed_answer(
    arguments: PackageArguments, before: dpkg.Installed, after: dpkg.Installed, ran: Optional[ProgramResult]
) -> HostReply:
    others = dpkg.changed(before, after)
    return HostReply(
        output={
            "package_name": arguments.name,
            "version_before": dpkg.version_of(before, arguments.name),
            "version_after": dpkg.version_of(after, arguments.name),
            "also_changed": _others(arguments.name, others),
            "reboot_required": os.path.exists(REBOOT_REQUIRED),
            "log": ran.log if ran else "",
        },
        state=_state(arguments, after),
        effect="done" if others else "none",
    )


def _fetch(call: Call, arguments: PackageArguments) -> HostReply:
    before = _index()
    ran = apt.change(call, *arguments.words())
    effect = "none" if _index() == before else "done"
    ran.refuse_stopped("fetching the index", effect)
    if ran.status:
        raise apt.failure(ran, "the index could not be fetched whole", effect)
    return HostReply(
        output={"reboot_required": os.path.exists(REBOOT_REQUIRED), "log": ran.log},
        state={"index": _index()},
        effect="done",
    )


def _others(name: str, names: Sequence[str]) -> List[str]:
    return sorted({one for one in names if one != name})[:MOST_NAMED]


def _installed(call: Call) -> Tuple[PackageArguments, Dict[str, Any]]:
    arguments = _parse_arguments(call)
    return arguments, _state(arguments, dpkg.installed(call.stop, absent=arguments.purge) if arguments.name else {})


def _state(arguments: PackageArguments, packages: dpkg.Installed) -> Dict[str, Any]:
    if not arguments.name:
        return {"index": _index()}
    package = packages.get(arguments.name)
    if package is None:
        return {"package_name": arguments.name, "version": "", "status": "absent"}
    return {"package_name": arguments.name, "version": package.version, "status": package.status}


def _index() -> str:
    """Return the time of the last replacement of a list, as text; "" without one. The lists' own times are the
    repository's.
    """
    try:
        with os.scandir(INDEX) as entries:
            lists = [entry for entry in entries if entry.is_file() and entry.name != "lock"]
            return str(max((entry.stat().st_ctime_ns for entry in lists), default=""))
    except OSError:
        return ""


def _parse_arguments(call: Call) -> PackageArguments:
    fields = Fields(dict(call.parameters), "parameters")
    name = name_from(fields, "" if call.operation == "package_update" else None)
    version = "" if call.operation == "package_remove" else version_from(fields)
    purge = fields.flag("purge", False) if call.operation == "package_remove" else False
    fields.end()
    if version and not name:
        raise HostError("invalid_parameter", "parameters.version needs package_name")
    return PackageArguments(call.operation, name, version, purge)
