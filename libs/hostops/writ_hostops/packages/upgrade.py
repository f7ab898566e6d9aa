"""package_update without a name: bring all packages to the versions of the index, remove none.

By apt's own rules held packages stay as they are, and so do those whose update would remove another package: these are
reported as `kept_back`. So are packages outside its bounds: apt is asked for their installed version. `index`: `keep`
uses the index at hand, so a preview is exact; `fetch` fetches it first; `only` fetches it and changes no package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from writ_hostops.commands import ProgramResult
from writ_hostops.errors import HostError
from writ_hostops.packages import apt, dpkg, history, index, results
from writ_hostops.packages.apt import AptStep
from writ_hostops.packages.bounds import PackageBounds
from writ_hostops.protocol import HostReply, OperationCall, verdict
from writ_hostops.stop import CancelToken, afterwards

INDEX_MODES = ("keep", "fetch", "only")
COMMAND = ("upgrade", "--with-new-pkgs", "--no-remove")


@dataclass(frozen=True)
class UpgradePlan:
    """The steps of an upgrade now, and the packages that it leaves alone."""

    steps: Sequence[AptStep]
    kept_back: Sequence[str]
    command: Sequence[str] = COMMAND


def run(call: OperationCall, mode: str, bounds: PackageBounds) -> HostReply:
    """Upgrade all packages, after a fetch of the index if the mode says so."""
    fetched, log = index.fetch(call) if mode != "keep" else ("none", "")
    if mode == "only":
        return HostReply(output={**_of_index(), "log": log}, state={"index": index.stamp()}, effect="done")
    try:
        answer = _upgrade(call, mode, bounds)
    except HostError as error:
        error.effect = fetched if error.effect == "none" else error.effect
        raise
    log = "\n".join(text for text in (log, answer.output["log"]) if text)
    effect = fetched if answer.effect == "none" else answer.effect
    return HostReply(output={**answer.output, "log": log}, state=answer.state, effect=effect)


def preview(call: OperationCall, mode: str, bounds: PackageBounds) -> HostReply:
    """Return the steps by the index at hand, by apt's own simulation."""
    shown = [apt.shown(*index.COMMAND)] if mode != "keep" else []
    if mode == "only":
        return HostReply(output={"would": "fetch the index", "commands": shown, **_of_index()})
    before, plan = apt.beside_others(
        call, lambda: _look(call.stop, bounds), lambda seen: not dpkg.broken(seen[0]), apt.PREVIEW_PATIENCE
    )
    fields = results.planned(plan.steps)
    if mode == "fetch":
        fields["would"] = f"fetch the index, then by the new one; by the index at hand: {fields['would']}"
    if plan.steps or mode == "fetch":
        shown.append(apt.shown(*plan.command))
    output = {**fields, "commands": shown, **_kept(plan), **_of_index()}
    return HostReply(output=output, state=_state(mode, before))


def baseline(call: OperationCall, mode: str) -> HostReply:
    """Return a digest of all packages, and the time of the index."""
    state = _state(mode, {} if mode == "only" else dpkg.installed(call.stop))
    return HostReply(output=state, state=state)


def probe(call: OperationCall, mode: str, bounds: PackageBounds) -> HostReply:
    """Judge by dpkg's list and another simulation."""
    if mode == "only":
        state = _state(mode, {})
        return verdict(*judge_fetch(call.baseline, state), state)
    packages = dpkg.installed(call.stop)
    state = _state(mode, packages)
    try:
        left = len(_plan(call.stop, bounds).steps) + len(dpkg.broken(packages))
    except HostError as error:
        if error.code != "tool_failed":
            raise
        return verdict("unknown", error.message, state)  # dpkg was interrupted, or its packages are broken
    return verdict(*judge(call.baseline, state, left), state)


def judge_fetch(before: Mapping[str, Any], now: Mapping[str, Any]) -> Tuple[str, str]:
    """Return the verdict on a fetch alone; a fetch that brought nothing new leaves no sign."""
    if not before or before == now:
        return "unknown", "whether the index was fetched since is not known"
    return "succeeded", "the index was fetched again since"


def judge(before: Mapping[str, Any], now: Mapping[str, Any], left: int) -> Tuple[str, str]:
    """Return the verdict on an upgrade; `left` is the number of packages to be updated or finished."""
    if not before:
        return "unknown", "there is no baseline to compare with"
    if now == before and (left or "index" in now):
        return "not_done", "all packages are as they were before"
    if left:
        return "unknown", f"{left} packages are still to be updated or finished"
    return "succeeded", "every package is in the version of the index, or kept back"


def _upgrade(call: OperationCall, mode: str, bounds: PackageBounds) -> HostReply:
    before, plan = apt.beside_others(call, lambda: _look(call.stop, bounds), lambda seen: _is_done(*seen))
    if _is_done(before, plan):
        return _reply(mode, plan, before, before, "")
    ran = apt.change(call, *plan.command, marked=history.mark(call), hook=bounds.hook())
    return _judged(mode, plan, before, ran, bounds)


def _look(stop: CancelToken, bounds: PackageBounds) -> Tuple[dpkg.Installed, UpgradePlan]:
    before, plan = dpkg.installed(stop), _plan(stop, bounds)
    bounds.refuse(plan.steps)
    return before, plan


def _is_done(before: dpkg.Installed, plan: UpgradePlan) -> bool:
    return not plan.steps and not dpkg.broken(before)


def _plan(stop: CancelToken, bounds: PackageBounds) -> UpgradePlan:
    """Return the plan by apt's simulation; HostError if a step is anything but an installation. Installed packages
    outside the bounds stay in their version, as far as apt can plan without them.
    """
    dpkg.refuse_interrupted()
    command, text = list(COMMAND), apt.simulation(stop, *COMMAND)
    steps = apt.steps(text)
    kept = [one for one in steps if one.before and bounds.why(one.name)]
    if kept:
        # Without `--only-upgrade` apt marks the packages that it is asked for as manually installed.
        command += ["--only-upgrade", "--", *(f"{one.name}={one.before}" for one in kept)]
        text = apt.simulation(stop, *command)
        steps = apt.steps(text)
    others = [one.name for one in steps if one.verb != "install"]
    if others:
        raise HostError("tool_failed", f"it would remove packages: {', '.join(others[:20])}")
    return UpgradePlan(steps, sorted({*apt.kept_back(text), *(one.name for one in kept)}), command)


def _judged(
    mode: str, plan: UpgradePlan, before: dpkg.Installed, ran: ProgramResult, bounds: PackageBounds
) -> HostReply:
    """Judge by dpkg's list now, whatever apt's exit status."""
    with afterwards() as patience:
        after = dpkg.installed(patience)
    reply = _reply(mode, plan, before, after, ran.log)
    results.refuse_failed(ran, reply, after, bounds=bounds)
    missed = _missed(plan.steps, after)
    if missed:
        message = f"apt ended well, but these are not as they should be: {', '.join(missed[:20])}"
        raise HostError("tool_failed", message, effect=reply.effect, output=reply.output, state=reply.state)
    return reply


def _missed(steps: Sequence[AptStep], after: dpkg.Installed) -> List[str]:
    return [one.name for one in steps if dpkg.version_of(after, one.name) != one.after]


def _reply(mode: str, plan: UpgradePlan, before: dpkg.Installed, after: dpkg.Installed, log: str) -> HostReply:
    fields = results.changes(before, after)
    output = {**fields, **_kept(plan), **_of_index(), "log": log}
    return HostReply(output=output, state=_state(mode, after), effect="done" if fields["changed"] else "none")


def _kept(plan: UpgradePlan) -> Dict[str, Any]:
    return {"kept_back": list(plan.kept_back)[: results.MOST_NAMED]}


def _of_index() -> Dict[str, Any]:
    at = index.fetched_at()
    return {} if at is None else {"index_fetched_at": at}


def _state(mode: str, packages: dpkg.Installed) -> Dict[str, Any]:
    """Return the state to compare: `by_index` is what a plan stands on, `index` what a fetch is to change."""
    key = "by_index" if mode == "keep" else "index"
    return {key: index.stamp(), **({} if mode == "only" else {"packages": dpkg.digest(packages)})}
