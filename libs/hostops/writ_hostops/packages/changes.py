"""package_install, package_update and package_remove: simulate, make the change, then read dpkg's own list.

The simulation decides: the name must mean exactly the named package, and an install or update of one package never
removes another. Without a name, see `upgrade`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from writ_hostops import privileges
from writ_hostops.commands import ProgramResult
from writ_hostops.errors import HostError
from writ_hostops.fields import Fields
from writ_hostops.packages import apt, dpkg, history, results, upgrade
from writ_hostops.packages.apt import AptStep
from writ_hostops.packages.bounds import NO_BOUNDS, PackageBounds, bounds_from
from writ_hostops.packages.names import name_from, version_from
from writ_hostops.packages.upgrade import INDEX_MODES
from writ_hostops.protocol import HostReply, OperationCall, verdict, with_lack
from writ_hostops.stop import CancelToken, afterwards

MOST_NAMED = results.MOST_NAMED


@dataclass(frozen=True)
class PackageArguments:
    """Parameters of a package operation. `name` "" is all packages, by `index`."""

    operation: str
    name: str
    version: str = ""
    purge: bool = False
    index: str = "keep"
    bounds: PackageBounds = NO_BOUNDS

    @property
    def removes(self) -> bool:
        return self.operation == "package_remove"

    def words(self) -> List[str]:
        """Return apt-get's arguments behind its options. By Debian's grammar a name is never an option; `--`
        precedes it all the same.
        """
        if self.removes:
            return ["purge" if self.purge else "remove", "--", self.name]
        more = ["--only-upgrade"] if self.operation == "package_update" else []
        if self.version and not more:
            more = ["--allow-downgrades"]
        return ["install", *more, "--", f"{self.name}={self.version}" if self.version else self.name]


def run(call: OperationCall) -> HostReply:
    """Make the change. A package in the requested state is left alone (`version_before` is `version_after`, effect
    none).
    """
    arguments = _parse_arguments(call)
    if not arguments.name:
        return upgrade.run(call, arguments.index, arguments.bounds)
    before, planned = apt.beside_others(call, lambda: _look(call, arguments), lambda seen: _is_done(arguments, *seen))
    if _is_done(arguments, before, planned):
        return _changed_answer(arguments, before, before, None)
    ran = apt.change(call, *_exact(arguments, planned), marked=history.mark(call), hook=arguments.bounds.hook())
    return _judged(arguments, planned, before, ran)


def preview(call: OperationCall) -> HostReply:
    """Return the changes that apt would make now, package by package, by its own simulation."""
    arguments = _parse_arguments(call)
    if not arguments.name:
        return with_lack(upgrade.preview(call, arguments.index, arguments.bounds), privileges.packages())
    before, planned = apt.beside_others(
        call, lambda: _look(call, arguments), lambda seen: not dpkg.broken(seen[0]), apt.PREVIEW_PATIENCE
    )
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
            "commands": [apt.shown(*_exact(arguments, planned))] if planned else [],
            **results.planned(planned),
        },
        state=_state(arguments, before),
    )
    return with_lack(would, privileges.packages())


def baseline(call: OperationCall) -> HostReply:
    """Return the package as dpkg has it."""
    arguments, state = _installed(call)
    if not arguments.name:
        return upgrade.baseline(call, arguments.index)
    return HostReply(output=state, state=state)


def probe(call: OperationCall) -> HostReply:
    """Judge by the installed version, and where that shows nothing by apt's log."""
    arguments, now = _installed(call)
    if arguments.name:
        reply = verdict(*judge(arguments, dict(call.baseline), now), now)
    else:
        reply = upgrade.probe(call, arguments.index, arguments.bounds)
    if reply.output["verdict"] == "not_done" and dpkg.is_changing_packages():
        return verdict("unknown", "dpkg is at work on the host", reply.state)
    return history.settled(call, reply)


def judge(arguments: PackageArguments, before: Dict[str, Any], now: Dict[str, Any]) -> Tuple[str, str]:
    """Return succeeded, not_done or unknown, with the reason; a pure function of two states."""
    if now["status"] not in ("installed", "absent"):
        return "unknown", f"its status in dpkg is {now['status']}"
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


def _look(call: OperationCall, arguments: PackageArguments) -> Tuple[dpkg.Installed, List[AptStep]]:
    """Return dpkg's list, and the steps that apt would take; HostError for a forbidden step."""
    before = dpkg.installed(call.stop, absent=arguments.purge)
    planned = _plan(call.stop, arguments, before)
    arguments.bounds.refuse(planned)
    return before, planned


def _plan(stop: CancelToken, arguments: PackageArguments, before: dpkg.Installed) -> List[AptStep]:
    """Return the steps that apt would take; HostError for a forbidden step."""
    if arguments.operation != "package_install" and arguments.name not in before:
        raise HostError("not_found", f"{arguments.name} is not installed", state=_state(arguments, before))
    dpkg.refuse_interrupted()
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
        raise HostError("not_found", f"apt would not install version {arguments.version} of {arguments.name}")
    return planned


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
    repair = results.REPAIR_OF_REMOVAL if arguments.removes else results.REPAIR
    results.refuse_failed(ran, answer, after, repair, arguments.bounds)
    if not _reached(arguments, planned, after):
        message = f"apt ended without an error, but {arguments.name} is not in the requested state"
        raise HostError("tool_failed", message, effect=answer.effect, output=answer.output, state=answer.state)
    return answer


def _is_done(arguments: PackageArguments, packages: dpkg.Installed, planned: Sequence[AptStep]) -> bool:
    """Return whether there is nothing to do. Packages that dpkg could not finish before still need their setup."""
    package = packages.get(arguments.name)
    return not planned and (arguments.removes or (package is not None and package.status == "installed"))


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
            "log": ran.log if ran else "",
            **results.changes(before, after),
        },
        state=_state(arguments, after),
        effect="done" if others else "none",
    )


def _others(name: str, names: Sequence[str]) -> List[str]:
    return sorted({one for one in names if one != name})[:MOST_NAMED]


def _installed(call: OperationCall) -> Tuple[PackageArguments, Dict[str, Any]]:
    arguments = _parse_arguments(call)
    return arguments, _state(arguments, dpkg.installed(call.stop, absent=arguments.purge) if arguments.name else {})


def _state(arguments: PackageArguments, packages: dpkg.Installed) -> Dict[str, Any]:
    package = packages.get(arguments.name)
    if package is None:
        return {"package_name": arguments.name, "version": "", "status": "absent"}
    return {"package_name": arguments.name, "version": package.version, "status": package.status}


def _parse_arguments(call: OperationCall) -> PackageArguments:
    fields = Fields(dict(call.parameters), "parameters")
    name = name_from(fields, "" if call.operation == "package_update" else None)
    version = "" if call.operation == "package_remove" else version_from(fields)
    purge = fields.flag("purge", False) if call.operation == "package_remove" else False
    index = fields.choice("index", INDEX_MODES, "keep") if call.operation == "package_update" else "keep"
    bounds = bounds_from(fields)
    fields.end()
    if version and not name:
        raise HostError("invalid_parameter", "parameters.version needs package_name")
    if name and index != "keep":
        raise HostError("invalid_parameter", "parameters.index is for an update without package_name")
    return PackageArguments(call.operation, name, version, purge, index, bounds)
