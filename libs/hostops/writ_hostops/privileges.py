"""Operations that this process may not carry out on its host, since it is not root's."""

from __future__ import annotations

import os
import pwd
from typing import Dict

from writ_hostops import commands
from writ_hostops.errors import HostError
from writ_hostops.stop import CancelToken

MANAGE_UNITS = "org.freedesktop.systemd1.manage-units"
REMEDY = f"it needs root (for a target over SSH: become), or a rule of polkit on {MANAGE_UNITS}"
_DPKG = "/var/lib/dpkg"


def lacking(stop: CancelToken) -> Dict[str, str]:
    """Return {operation: reason}; empty for root."""
    if os.geteuid() == 0:
        return {}
    reasons = {}
    if reason := services(stop):
        reasons.update(dict.fromkeys(("service_start", "service_stop", "service_restart"), reason))
    if reason := packages():
        reasons.update(dict.fromkeys(("package_install", "package_remove", "package_update"), reason))
    return reasons


def services(stop: CancelToken) -> str:
    """Return the reason for which systemd may refuse to start or stop a unit for this user; "" if it does not.

    Only root may query polkit about a single unit, so this cannot find a rule for single units.
    """
    if os.geteuid() == 0:
        return ""
    try:
        request = commands.run(("pkcheck", "--action-id", MANAGE_UNITS, "--process", str(os.getpid())), stop)
    except HostError as error:
        if error.code != "tool_missing":
            raise
        return f"{user()} is not root, and there is no polkit here that could let it manage units"
    request.refuse_stopped("pkcheck")
    allowed = f"polkit ({MANAGE_UNITS}) lets it manage no units, except where a rule names single ones"
    return "" if request.status == 0 else f"{user()} is not root, and {allowed}"


def packages() -> str:
    """Return the reason for which dpkg refuses to change packages for this user; "" if it does not."""
    return "" if os.access(_DPKG, os.W_OK) else f"{user()} is not root, and dpkg lets nobody else change packages"


def user() -> str:
    """Return the name of the user of this process."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"
