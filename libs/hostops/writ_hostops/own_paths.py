"""Writ's own files and folders on a host, which neither file operations nor mounts of containers reach."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Sequence

INSTALLED: Sequence[str] = (
    *("/etc/writ", "/etc/writ-agent", "/etc/writ-ssh", "/etc/writ-docker", "/etc/writ-proxmox"),
    *("/run/credentials/writ-*", "/var/lib/writ", "/var/lib/writ-agent-*", "/var/lib/private/writ-*"),
)
"""Where the units of `deploy/systemd` have keys and state. An agent knows only its own, and systemd passes its key from
there as a copy.
"""
INSTALLED_CODE: Sequence[str] = ("/opt/writ",)
"""Installers make files that are alike one file with several names, so its names elsewhere may be read."""
ROOTS_HOSTOPS = "/var/lib/writ-hostops"
"""Where the SSH agent has the code of hostops and its marks on a host on which it is root."""
USERS_HOSTOPS = "/home/{user}/.local/state/writ-hostops"
"""The same for another account with the usual home."""


def overlap(path: str, own: str) -> bool:
    """Return whether one of the two is the other, or holds it. Both are absolute and in their one spelling; names in
    `own` may be globs. Pure: it is for paths on another host, too.
    """
    return all(fnmatchcase(name, pattern) for name, pattern in zip(_names(path), _names(own)))


def _names(path: str) -> Sequence[str]:
    return [name for name in path.split("/") if name]
