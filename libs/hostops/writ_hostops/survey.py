"""The facts of this host that operations depend on: versions, and the operations that cannot work here.

It only reads. The target's declarations count as much as installed programs: a folder outside of all file roots is not
available. What cannot succeed whatever its parameters is found by the operation's own first step, so the code and
message are those of a run.
"""

from __future__ import annotations

import os
import re
import sys
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from writ_hostops import commands, privileges
from writ_hostops.backups.restic import Restic
from writ_hostops.errors import HostError
from writ_hostops.fields import Fields
from writ_hostops.protocol import HostReply, HostTarget, OperationCall
from writ_hostops.systemd import services

_VERSION = re.compile(r"\d+(?:[.:+~-][0-9A-Za-z]+)*")
_PROGRAMS: Sequence[Tuple[str, Tuple[str, ...]]] = (
    ("systemd", ("systemctl", "--version")),
    ("apt", ("apt-get", "--version")),
    ("restic", ("restic", "version")),
    ("btrfs", ("btrfs", "--version")),
    ("zfs", ("zfs", "version")),
)
_SNAPSHOTS = ("btrfs", "zfs")
_SYSTEMD = "/run/systemd/system"
_LASTING = ("unavailable", "tool_missing", "permission_denied")


def survey(call: OperationCall) -> HostReply:
    """Return {versions: {name: version}, lacking: {operation or prefix*: reason}, fails: {operation: [code, message]}};
    of a folder only {space}.
    """
    parameters = Fields(dict(call.parameters), "parameters")
    folder = parameters.text("space_of", "")
    parameters.end()
    if folder:
        return HostReply(output={"space": _space(folder)})
    versions = {"os": _system(), "kernel": os.uname().release, "python": ".".join(map(str, sys.version_info[:3]))}
    for name, command in _PROGRAMS:
        if version := _version(command, call):
            versions[name] = version
    lacking = {**privileges.lacking(call.stop), **_lacking(call.target, versions)}
    return HostReply(output={"versions": versions, "lacking": lacking, "fails": _fails(call)})


def _space(folder: str) -> Optional[List[int]]:
    """Return free and total bytes, for a user without privilege; None for a folder that this user cannot see."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return None
    return [status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize]


def _lacking(target: HostTarget, versions: Dict[str, str]) -> Dict[str, str]:
    reasons: Dict[str, str] = {}
    if not os.path.isdir(_SYSTEMD):  # sd_booted(3)
        reasons["service_*"] = "systemd does not run this host"
    if "apt" not in versions:
        reasons["package_*"] = "apt-get is not installed"
    if target.backup is None:
        reasons["backup_*"] = "no backup repository is declared for the target"
    elif "restic" not in versions:
        reasons["backup_*"] = "restic is not installed"
    if not target.scan_networks:
        reasons["network_scan"] = "no scan_networks are declared for the target"
    roots = [root.path for root in target.file_roots]
    if not roots:
        reasons["file_*"] = reasons["snapshot_*"] = "no file_roots are declared for the target"
    elif not any(map(os.path.isdir, roots)):
        reasons["file_*"] = reasons["snapshot_*"] = f"none of the file roots is there: {', '.join(roots)}"
    elif not any(kind in _SNAPSHOTS for kind in _kinds(roots)):
        reasons["snapshot_*"] = "no file root is on btrfs, and no zfs is in one"
    return reasons


def _fails(call: OperationCall) -> Dict[str, List[str]]:
    """Return code and message by operation. Whether a rule of polkit lets a user manage a unit depends on the unit, and
    whether a path can have snapshots on the path.
    """
    failing: Dict[str, List[str]] = {}
    for names, require in _REQUIREMENTS:
        try:
            require(call)
        except HostError as error:
            if error.code in _LASTING:
                failing.update({name: [error.code, error.message] for name in names})
    return failing


def _kinds(roots: Sequence[str]) -> List[str]:
    """Return the kinds of file systems of the roots: btrfs, which keeps snapshots in a root, and zfs beneath them."""
    mounts = list(_mounts())
    kinds = []
    for root in map(os.path.realpath, roots):
        above = [(len(path), kind) for path, kind in mounts if _within(root, path)]
        kinds += [max(above)[1]] if above else []
        kinds += [kind for path, kind in mounts if _within(path, root) and kind != "btrfs"]
    return kinds


def _mounts() -> Iterator[Tuple[str, str]]:
    """Return mount points and their kinds: fields of proc_pid_mountinfo(5), with its octal escapes."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            words = line.split(" ")
            path = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), words[4])
            yield path, words[words.index("-", 6) + 1]


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _version(command: Sequence[str], call: OperationCall) -> str:
    """Return the program's version as it prints it; "" if it is not installed or prints none."""
    try:
        ran = commands.run(command, call.stop)
    except HostError as error:
        if error.code == "tool_missing":
            return ""
        raise
    ran.refuse_stopped(command[0])
    match = _VERSION.search(ran.out)
    return match[0] if match and ran.status == 0 else ""


def _system() -> str:
    """Return PRETTY_NAME of os-release(5)."""
    try:
        with open("/etc/os-release", encoding="utf-8", errors="replace") as file:
            named = dict(line.rstrip("\n").partition("=")[::2] for line in file)
    except OSError:
        return ""
    return named.get("PRETTY_NAME", "").strip("\"'")[:100]


_PACKAGE_CHANGES = ("package_install", "package_remove", "package_update")
_REQUIREMENTS: Sequence[Tuple[Tuple[str, ...], Callable[[OperationCall], object]]] = (
    (("service_status", "service_start", "service_stop", "service_restart"), lambda _: services.require_systemd()),
    (_PACKAGE_CHANGES, lambda _: commands.found("apt-get")),
    (("package_list", *_PACKAGE_CHANGES), lambda _: commands.found("dpkg-query")),
    (("backup_create", "backup_list", "backup_restore", "backup_delete"), Restic),
)
"""The first steps of operations, in the reverse order of a run: the last failure counts."""
