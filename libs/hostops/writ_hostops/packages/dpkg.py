"""dpkg's list of packages (dpkg-query(1))."""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence

from writ_hostops import commands
from writ_hostops.errors import HostError
from writ_hostops.stop import CancelToken

OPTIONS: Sequence[str] = ()
"""Options of every dpkg-query; tests set another root here."""
UPDATES = "/var/lib/dpkg/updates"
LOCK = "/var/lib/dpkg/lock"
"""Held by dpkg while it works, and by no child of it."""
FRONTEND_LOCK = "/var/lib/dpkg/lock-frontend"
"""Held by a program for as long as it may run dpkg again."""
INTERRUPTED = "dpkg was interrupted before; `dpkg --configure -a` on the host repairs it"
_FORMAT = "${db:Status-Status}\\t${Package}\\t${Version}\\t${Architecture}\\n"
# Broken ones (half-installed, half-configured, unpacked, …) are there too, and are not well.
_ABSENT = ("not-installed", "config-files")
_LOCK = "hhqqi"
"""struct flock of fcntl(2): type, whence, start, length, process."""


@dataclass(frozen=True)
class Package:
    """A package as dpkg has it. `status` is dpkg's word, `installed` when all is well."""

    name: str
    version: str
    architecture: str
    status: str = "installed"


Installed = Mapping[str, Package]
"""Packages by `name` for the host's own architecture, else by `name:architecture`."""


def installed(stop: CancelToken, absent: bool = False) -> Dict[str, Package]:
    """Return all packages on the list, broken ones included; with `absent` also removed ones with remaining
    configuration.
    """
    ran = commands.run(query(), stop)
    ran.refuse_stopped("dpkg-query")
    return packages_of(ran.status, ran.whole("dpkg-query"), absent)


def query() -> List[str]:
    """Return the arguments of dpkg-query; `packages_of` parses its output."""
    return ["dpkg-query", *OPTIONS, "--show", f"--showformat={_FORMAT}"]


def packages_of(status: int, out: str, absent: bool = False) -> Dict[str, Package]:
    """See `installed`. HostError `tool_failed`, `garbled`."""
    if status not in (0, 1) or (status == 1 and out):  # 1 with nothing: no package at all
        raise HostError("tool_failed", f"dpkg-query failed (exit status {status})")
    entries = [_package(line) for line in out.splitlines()]
    native = _native(entries)
    packages: Dict[str, Package] = {}
    for package in entries:
        if absent or package.status not in _ABSENT:
            packages[_key(package, native)] = package
    return packages


def version_of(packages: Installed, name: str) -> str:
    """Return the installed version; "" if absent."""
    package = packages.get(name)
    return package.version if package else ""


def changed(before: Installed, after: Installed) -> List[str]:
    """Return the names of packages that were added, removed or replaced, sorted."""
    return sorted(name for name in {*before, *after} if before.get(name) != after.get(name))


def broken(packages: Installed) -> List[str]:
    """Return the names of unfinished packages, sorted."""
    return sorted(name for name, package in packages.items() if package.status != "installed")


def digest(packages: Installed) -> str:
    """Return a digest of all names, versions and states."""
    lines = "".join(f"{name} {packages[name].version} {packages[name].status}\n" for name in sorted(packages))
    return hashlib.sha256(lines.encode("utf-8")).hexdigest()[:32]


def refuse_interrupted() -> None:
    """Refuse if dpkg was interrupted, as apt does before a change but not before a simulation. Numbered files are its
    unfinished work; dpkg that is at work has such files, too.
    """
    # Looked at again without the lock: dpkg may have ended well between the first two looks.
    if _has_updates() and not is_at_work() and _has_updates():
        raise HostError("tool_failed", INTERRUPTED)


def _has_updates() -> bool:
    try:
        return any(name.isdigit() for name in os.listdir(UPDATES))
    except FileNotFoundError:  # no dpkg was ever at work here
        return False


def is_at_work() -> bool:
    """Return whether a program holds a lock of dpkg now."""
    return _is_locked(FRONTEND_LOCK) or is_changing_packages()


def is_changing_packages() -> bool:
    """Return whether dpkg itself is at work now."""
    return _is_locked(LOCK)


def _is_locked(path: str) -> bool:
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return _is_listed(path)
    except OSError:  # absent
        return False
    try:
        found = fcntl.fcntl(lock, fcntl.F_GETLK, struct.pack(_LOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    finally:
        os.close(lock)
    return bool(struct.unpack(_LOCK, found)[0] != fcntl.F_UNLCK)


def _is_listed(path: str) -> bool:
    """Return whether the kernel lists a lock of a file that this user may not open. Its device is left out, which is
    another one there than in stat(2) on btrfs.
    """
    try:
        inode = os.stat(path).st_ino
        with open("/proc/locks", encoding="utf-8", errors="replace") as locks:
            return any(f":{inode} " in line for line in locks)
    except OSError:
        return False


def _package(line: str) -> Package:
    words = line.split("\t")
    if len(words) != 4 or not words[1]:
        raise HostError("garbled", "the output of dpkg-query cannot be parsed")
    return Package(name=words[1], version=words[2], architecture=words[3], status=words[0])


def _native(packages: Sequence[Package]) -> Optional[str]:
    """Return the host's architecture: that of dpkg itself."""
    return next((one.architecture for one in packages if one.name == "dpkg"), None)


def _key(package: Package, native: Optional[str]) -> str:
    foreign = native is not None and package.architecture not in ("all", native)
    return f"{package.name}:{package.architecture}" if foreign else package.name
