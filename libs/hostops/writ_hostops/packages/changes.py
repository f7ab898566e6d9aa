"""package_install, package_update and package_remove: simulated first, then made, then looked at in dpkg's own list.

What the simulation shows decides: nothing but the package that was named may be meant by its name, and what installs or
updates one package never removes another.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from writ_hostops.commands import Ran
from writ_hostops.errors import HostError
from writ_hostops.fields import Fields
from writ_hostops.packages import apt, dpkg
from writ_hostops.packages.apt import Step
from writ_hostops.packages.names import name_from, version_from
from writ_hostops.protocol import Answer, Call, verdict
from writ_hostops.stop import Stop, afterwards

REBOOT_REQUIRED = "/run/reboot-required"
INDEX = "/var/lib/apt/lists"
UPDATES = "/var/lib/dpkg/updates"
MOST_NAMED = 500


@dataclass(frozen=True)
class Wish:
    """The parameters. `name` "" is the index."""

    operation: str
    name: str
    version: str = ""
    purge: bool = False

    @property
    def removes(self) -> bool:
        """Whether it is about a package that is to go."""
        return self.operation == "package_remove"

    def words(self) -> List[str]:
        """For apt-get, after its options. The name is by Debian's grammar and so no option; `--` all the same."""
        if not self.name:
            return ["update"]
        if self.removes:
            return ["purge" if self.purge else "remove", "--", self.name]
        more = ["--only-upgrade"] if self.operation == "package_update" else []
        if self.version and not more:
            more = ["--allow-downgrades"]
        return ["install", *more, "--", f"{self.name}={self.version}" if self.version else self.name]


def run(call: Call) -> Answer:
    """Make the change. What is so already is left alone (`version_before` is `version_after`, effect none)."""
    wish = _wish(call)
    if not wish.name:
        return _fetch(call, wish)
    before = dpkg.installed(call.stop, absent=wish.purge)
    planned = _plan(call.stop, wish, before)
    if not planned and _is_well(wish, before):
        return _answer(wish, before, before, None)
    ran = apt.change(call, *_exact(wish, planned))
    return _judged(wish, planned, before, ran)


def preview(call: Call) -> Answer:
    """What apt would do now, package by package, by its own simulation."""
    wish = _wish(call)
    if not wish.name:
        return Answer(output={"would": "fetch the index anew", "commands": [apt.shown(*wish.words())]})
    before = dpkg.installed(call.stop, absent=wish.purge)
    planned = _plan(call.stop, wish, before)
    step = apt.only(planned, wish.name)
    return Answer(
        output={
            "package_name": wish.name,
            "version_before": dpkg.version_of(before, wish.name),
            "version_after": step.after if step else "" if wish.removes else dpkg.version_of(before, wish.name),
            "also_changed": _others(wish.name, [one.name for one in planned]),
            "would": "; ".join(one.text() for one in planned[:MOST_NAMED]) or "nothing",
            "commands": [apt.shown(*_exact(wish, planned))] if planned else [],
        },
        state=_state(wish, before),
    )


def baseline(call: Call) -> Answer:
    """The package as dpkg has it; for the index, when it was fetched last."""
    state = _look(call)[1]
    return Answer(output=state, state=state)


def probe(call: Call) -> Answer:
    """By the version that is installed."""
    wish, now = _look(call)
    word, reason = judge(wish, dict(call.baseline), now)
    return verdict(word, reason, now)


def judge(wish: Wish, before: Dict[str, Any], now: Dict[str, Any]) -> Tuple[str, str]:
    """succeeded, not_done or unknown, and why; a pure function of two states."""
    if not wish.name:
        return ("unknown", "whether the index was fetched since is not known") if before == now or not before else (
            "succeeded", "the index was fetched anew since")  # fmt: skip
    if now["status"] not in ("installed", "absent"):
        return "unknown", f"dpkg has it as {now['status']}"
    if wish.removes:
        gone = now["status"] == "absent"
        return ("succeeded", "it is not installed") if gone else ("not_done", "it is installed")
    if wish.version:
        there = now["version"] == wish.version
        return ("succeeded", "it is in this version") if there else ("not_done", "it is not in this version")
    if now["status"] == "absent":
        return "not_done", "it is not installed"
    if before and before == now:
        done = wish.operation == "package_install"
        return ("succeeded", "it is installed") if done else ("not_done", "it is as it was before")
    if not before and wish.operation == "package_update":
        return "unknown", "there is no baseline to compare with"
    return "succeeded", "it is installed, and not as it was before"


def _plan(stop: Stop, wish: Wish, before: dpkg.Installed) -> List[Step]:
    """The steps that apt would take; HostError for what must not be."""
    if wish.operation != "package_install" and wish.name not in before:
        raise HostError("not_found", f"{wish.name} is not installed", state=_state(wish, before))
    _refuse_interrupted()
    planned = apt.simulate(stop, *wish.words())
    step = apt.only(planned, wish.name)
    if wish.removes:
        if planned and (step is None or step.verb == "install"):
            raise HostError("not_found", f"apt would not remove {wish.name}, but other packages")
        return planned
    others = [one.name for one in planned if one.verb != "install"]
    if others:
        raise HostError("tool_failed", f"it would remove other packages: {', '.join(others[:20])}")
    if step is None and (planned or wish.name not in before):
        raise HostError(
            "not_found", f"apt knows no package {wish.name}; a virtual package has to be named by a real one"
        )
    there = step.after if step else dpkg.version_of(before, wish.name)
    if wish.version and there != wish.version:
        raise HostError("not_found", f"apt would not bring {wish.name} to version {wish.version}")
    return planned


def _refuse_interrupted() -> None:
    """As apt does before a change, but not before a simulation: numbered files are what dpkg has still to work in."""
    try:
        interrupted = any(name.isdigit() for name in os.listdir(UPDATES))
    except FileNotFoundError:  # no dpkg was ever at work here
        return
    if interrupted:
        raise HostError("tool_failed", apt.INTERRUPTED)


def _exact(wish: Wish, planned: Sequence[Step]) -> List[str]:
    """The command for just what was simulated, however the index changes meanwhile."""
    step = apt.only(planned, wish.name)
    if step is None or wish.removes:
        return wish.words()
    exact = Wish(wish.operation, wish.name, wish.version or step.after)
    words = exact.words()
    return [*words[:1], "--no-remove", *(word for word in words[1:] if wish.version or word != "--allow-downgrades")]


def _judged(wish: Wish, planned: Sequence[Step], before: dpkg.Installed, ran: Ran) -> Answer:
    """By what dpkg has now, whatever apt said."""
    with afterwards() as patience:
        after = dpkg.installed(patience, absent=wish.purge)
    answer = _answer(wish, before, after, ran)
    if ran.stopped or ran.status:
        broken = dpkg.broken(after)
        told = f"; dpkg could not finish {', '.join(broken[:20])}" if broken else ""
        effect = "maybe" if answer.effect == "done" and not ran.gone else answer.effect
        what = {"cancelled": "it was cancelled", "timeout": "its time was up"}.get(ran.stopped, "")
        failure = apt.failure(ran, "apt failed")
        code, message = ran.stopped or failure.code, f"{what or failure.message}{told}"
        raise HostError(code, message, effect=effect, certain=ran.gone, output=answer.output, state=answer.state)
    if not _reached(wish, planned, after):
        message = f"apt ended well, but {wish.name} is not as it should be"
        raise HostError("tool_failed", message, effect=answer.effect, output=answer.output, state=answer.state)
    return answer


def _is_well(wish: Wish, packages: dpkg.Installed) -> bool:
    """Whether nothing is to be done; what dpkg could not finish before is still to be set up."""
    package = packages.get(wish.name)
    return wish.removes or (package is not None and package.status == "installed")


def _reached(wish: Wish, planned: Sequence[Step], after: dpkg.Installed) -> bool:
    package, step = after.get(wish.name), apt.only(planned, wish.name)
    if wish.removes:
        return package is None or (not wish.purge and package.status == "config-files")
    right = step is None or (package is not None and package.version == step.after)
    return package is not None and package.status == "installed" and right


def _answer(wish: Wish, before: dpkg.Installed, after: dpkg.Installed, ran: Optional[Ran]) -> Answer:
    others = dpkg.changed(before, after)
    return Answer(
        output={
            "package_name": wish.name,
            "version_before": dpkg.version_of(before, wish.name),
            "version_after": dpkg.version_of(after, wish.name),
            "also_changed": _others(wish.name, others),
            "reboot_required": os.path.exists(REBOOT_REQUIRED),
            "log": ran.log if ran else "",
        },
        state=_state(wish, after),
        effect="done" if others else "none",
    )


def _fetch(call: Call, wish: Wish) -> Answer:
    before = _index()
    ran = apt.change(call, *wish.words())
    effect = "none" if _index() == before else "done"
    ran.refuse_stopped("fetching the index", effect)
    if ran.status:
        raise apt.failure(ran, "the index could not be fetched whole", effect)
    return Answer(
        output={"reboot_required": os.path.exists(REBOOT_REQUIRED), "log": ran.log},
        state={"index": _index()},
        effect="done",
    )


def _others(name: str, names: Sequence[str]) -> List[str]:
    return sorted({one for one in names if one != name})[:MOST_NAMED]


def _look(call: Call) -> Tuple[Wish, Dict[str, Any]]:
    wish = _wish(call)
    return wish, _state(wish, dpkg.installed(call.stop, absent=wish.purge) if wish.name else {})


def _state(wish: Wish, packages: dpkg.Installed) -> Dict[str, Any]:
    if not wish.name:
        return {"index": _index()}
    package = packages.get(wish.name)
    if package is None:
        return {"package_name": wish.name, "version": "", "status": "absent"}
    return {"package_name": wish.name, "version": package.version, "status": package.status}


def _index() -> str:
    """When a list was replaced last, as text; "" where none is. Not by their own times, which are the repository's."""
    try:
        with os.scandir(INDEX) as entries:
            lists = [entry for entry in entries if entry.is_file() and entry.name != "lock"]
            return str(max((entry.stat().st_ctime_ns for entry in lists), default=""))
    except OSError:
        return ""


def _wish(call: Call) -> Wish:
    fields = Fields(dict(call.parameters), "parameters")
    name = name_from(fields, "" if call.operation == "package_update" else None)
    version = "" if call.operation == "package_remove" else version_from(fields)
    purge = fields.flag("purge", False) if call.operation == "package_remove" else False
    fields.end()
    if version and not name:
        raise HostError("invalid_parameter", "parameters.version needs package_name")
    return Wish(call.operation, name, version, purge)
