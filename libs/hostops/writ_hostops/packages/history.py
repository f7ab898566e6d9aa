"""apt's own log of changes, history.log: what became of a transaction whose hostops ended before it.

apt writes the arguments of each transaction there, and with them the mark of the operation, which is an option that apt
does not know. It writes the end when dpkg has ended, with an error if dpkg failed, and none if apt was killed. An apt
that is interrupted (SIGINT) between two runs of dpkg writes an end without an error: dpkg must have the packages, too.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import Dict, List, Optional

from writ_hostops import commands
from writ_hostops.errors import HostError
from writ_hostops.packages import apt, dpkg
from writ_hostops.protocol import HostReply, OperationCall

_MOST = 4 * 1024 * 1024
"""Bytes of the end of the log that are read. A new one is begun each month."""
_PATH = re.compile(r"^LOG='(/[^']+)'$", re.MULTILINE)
_OPTION = "Writ::Operation"
_CHANGED = re.compile(r"(\S+):([a-z0-9-]+) \(([^()]*)\)(?:, |$)")
"""A package with its architecture, and its versions: before and after, or the only one."""
_KINDS = ("Install", "Upgrade", "Downgrade", "Reinstall", "Remove", "Purge")


def mark(call: OperationCall) -> List[str]:
    """Return the options by which the log names the operation."""
    return ["-o", f"{_OPTION}={call.operation}/{call.public_id}"]


def settled(call: OperationCall, probed: HostReply) -> HostReply:
    """Return the probe's reply. If it has no verdict, and the log has the transaction of this operation, that decides
    where dpkg has each package of it as it was to become; else it is in the reason.
    """
    if probed.output["verdict"] != "unknown":
        return probed
    found = _transaction(call)
    if found is None:
        return probed
    begin, end = found.get("Start-Date", ""), found.get("End-Date", "")
    if not end:
        how = f"apt began at {begin} and did not end"
    elif "Error" in found:
        how = f"apt ended at {end} with an error: {found['Error']}"
    else:
        left = _left(found, dpkg.installed(call.stop, absent=True))
        if left is None:  # as where apt has only configured what was unpacked before
            how = f"apt ended at {end}, but no package is named"
        elif not left:
            return _with(probed, "succeeded", f"by its log apt ended without an error, at {end}")
        else:
            how = f"apt ended at {end}, but these are not known to be as it planned: {', '.join(left)}"
    return _with(probed, "unknown", f"{probed.output['reason']}; by its log {how}"[:500])


def _left(found: Dict[str, str], now: dpkg.Installed) -> Optional[List[str]]:
    """Return the packages of the transaction that dpkg does not show to be as it was to make them; None if it names no
    package.
    """
    left, is_named = [], False
    for kind in _KINDS:
        for name, architecture, versions in _CHANGED.findall(found.get(kind, "")):
            is_named = True
            package = now.get(f"{name}:{architecture}", now.get(name))
            if package is not None and package.architecture not in ("all", architecture):
                package = None  # of another architecture
            if not _is_done(kind, versions.split(", "), package):
                left.append(name)
    return left if is_named else None


def _is_done(kind: str, versions: List[str], package: Optional[dpkg.Package]) -> bool:
    if kind == "Reinstall":  # its version was the same before
        return False
    if kind in ("Remove", "Purge"):
        gone = package is None or package.status == "not-installed"
        return gone or (kind == "Remove" and package is not None and package.status == "config-files")
    if kind != "Install" and len(versions) != 2:
        return False
    after = versions[0] if kind == "Install" else versions[1]
    return package is not None and (package.status, package.version) == ("installed", after)


def _with(probed: HostReply, word: str, reason: str) -> HostReply:
    return replace(probed, output={**probed.output, "verdict": word, "reason": reason})


def _transaction(call: OperationCall) -> Optional[Dict[str, str]]:
    """Return the fields of the operation's last transaction; None without one, or if the log cannot be read."""
    option = f" {' '.join(mark(call))} "
    try:
        ran = commands.run(["apt-config", *apt.OPTIONS, "shell", "LOG", "Dir::Log::History/f"], call.stop)
        found = _PATH.search(ran.out)
        text = _end_of(found.group(1)) if found else ""
    except (HostError, OSError):
        return None
    for stanza in reversed(text.split("\n\n")):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
        if option in fields.get("Commandline", ""):
            return fields
    return None


def _end_of(path: str) -> str:
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - _MOST))
        return file.read(_MOST).decode("utf-8", "replace")
