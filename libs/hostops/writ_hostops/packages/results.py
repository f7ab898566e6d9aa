"""The fields of results that all changes of packages share: from which version to which, and how apt failed."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Sequence

from writ_hostops.commands import ProgramResult
from writ_hostops.errors import HostError
from writ_hostops.packages import apt, dpkg
from writ_hostops.packages.apt import AptStep
from writ_hostops.packages.bounds import NO_BOUNDS, PackageBounds
from writ_hostops.protocol import HostReply

REBOOT_REQUIRED = "/run/reboot-required"
REPAIR = "`dpkg --configure -a` on the host tries it again"
REPAIR_OF_REMOVAL = "run `dpkg --configure -a` on the host, and then package_remove again"
"""dpkg configures no package that it was removing (`deinstall ok half-configured`)."""
MOST_NAMED = 500
MOST_IN_TEXT = 20
"""Packages that the sentence of a preview names; the list `changed` has more of them."""


def planned(steps: Sequence[AptStep]) -> Dict[str, Any]:
    """Return the fields of a preview."""
    entries = [_entry(one.name, one.before, one.after) for one in steps]
    texts = [one.text() for one in steps[:MOST_IN_TEXT]] or ["nothing"]
    if len(steps) > MOST_IN_TEXT:
        texts.append(f"and {len(steps) - MOST_IN_TEXT} more packages")
    return {"would": "; ".join(texts), **_bounded(entries)}


def changes(before: dpkg.Installed, after: dpkg.Installed) -> Dict[str, Any]:
    """Return the fields of the result of a change, by dpkg's lists."""
    entries = [
        _entry(name, dpkg.version_of(before, name), dpkg.version_of(after, name))
        for name in dpkg.changed(before, after)
    ]
    return {"reboot_required": os.path.exists(REBOOT_REQUIRED), **_bounded(entries)}


def refuse_failed(
    ran: ProgramResult,
    answer: HostReply,
    after: dpkg.Installed,
    repair: str = REPAIR,
    bounds: PackageBounds = NO_BOUNDS,
) -> None:
    """Raise HostError if apt was stopped or failed, or if dpkg removed packages outside the bounds; `answer` has the
    state that dpkg lists afterwards.
    """
    if not (ran.stopped or ran.status):
        _refuse_disappeared(ran, answer, bounds)
        return
    if not (ran.stopped or apt.has_begun(ran)):
        bounds.refuse_hooked(ran.errors)
    broken = dpkg.broken(after)
    unfinished = f"; dpkg could not finish {', '.join(broken[:20])}: {repair}" if broken else ""
    effect = "maybe" if answer.effect == "done" and not ran.gone else answer.effect
    what = {"cancelled": "it was cancelled", "timeout": "its timeout is over"}.get(ran.stopped, "")
    failure = apt.failure(ran, "apt failed")
    code, message = ran.stopped or failure.code, f"{what or failure.message}{unfinished}"
    raise HostError(code, message, effect=effect, certain=ran.gone, output=answer.output, state=answer.state)


def _refuse_disappeared(ran: ProgramResult, answer: HostReply, bounds: PackageBounds) -> None:
    gone = bounds.disappeared(ran.out)
    if gone:
        message = f"others replaced all files of these packages, so dpkg removed them: {', '.join(gone[:MOST_IN_TEXT])}"
        raise HostError("tool_failed", message, effect=answer.effect, output=answer.output, state=answer.state)


def _entry(name: str, before: str, after: str) -> Dict[str, str]:
    return {"package_name": name, "version_before": before, "version_after": after}


def _bounded(entries: List[Dict[str, str]]) -> Dict[str, Any]:
    return {"changed": entries[:MOST_NAMED], **({"cut": True} if len(entries) > MOST_NAMED else {})}
