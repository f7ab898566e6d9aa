"""Errors of the API, by status and text: which ones are certain to have had no effect, and which leave it open.

595: the proxy could not reach the node. 596 and 597: the node was reached and did not reply in the proxy's 30 s, while
its daemon goes on: for a change the effect is unknown until the task list has been searched. So it is after the errors
of other proxies (502 to 504, 520 and more), and after each error page that is not JSON.
"""

import re
from http.client import BAD_GATEWAY, REQUEST_TIMEOUT

from writ_contracts.errors import Conflict, Denied, Invalid, TimedOut, Unreachable, WritError

LONGEST = 500
_LOCKED = re.compile(
    r"is locked \((?P<lock>[a-z-]{1,30})\)|can't lock file .* got timeout|(?:CT|VM) is locked", re.DOTALL
)
_NO_QUORUM = re.compile(r"no quorum|not quorate|cluster not ready")
_GONE = re.compile(r"configuration file '[^']*' does not exist|unable to find configuration file", re.IGNORECASE)
_NO_TASK = re.compile(r"no such task|unable to parse worker upid|unable to open file|task .* not found", re.IGNORECASE)
UNREACHED = 595


def lock_in(text: str) -> str | None:
    """Return the name of the lock in an error text (`config` where it names none), None for another text."""
    found = _LOCKED.search(text)
    return (found["lock"] or "config") if found else None


def error_of(status: int, text: str, *, changing: bool) -> WritError:
    """Return the error for a reply of `status` >= 400."""
    message = f"Proxmox answers {status}: {' '.join(text.split()) or 'no reason'}"[:LONGEST]
    if status == REQUEST_TIMEOUT or (status >= BAD_GATEWAY and status != UNREACHED):
        kind = TimedOut if changing else Unreachable
        return kind(message, code="no_reply")
    if status in _BY_STATUS:
        known, code = _BY_STATUS[status]
        return known(message, code=code)
    return _by_text(text, message)


def _by_text(text: str, message: str) -> WritError:
    if (lock := lock_in(text)) is not None:
        return Conflict(f"the guest is locked ({lock}): {message}"[:LONGEST], code="guest_locked")
    if _NO_QUORUM.search(text):
        return Unreachable(f"the cluster has no quorum: {message}"[:LONGEST], code="no_quorum")
    if _GONE.search(text):
        return Conflict(message, code="guest_moved")
    if _NO_TASK.search(text):
        return Unreachable(message, code="no_such_task")
    return Invalid(message, code="refused")


NO_RIGHTS = "no_rights"
_BY_STATUS: dict[int, tuple[type[WritError], str]] = {
    401: (Denied, "auth_failed"),
    403: (Denied, NO_RIGHTS),
    501: (Invalid, "unsupported"),
    UNREACHED: (Unreachable, "node_offline"),
}
