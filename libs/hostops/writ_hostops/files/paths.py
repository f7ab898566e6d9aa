"""The paths that an operation may name: a pure function of text and declared roots. The kernel enforces the rest.

A path has one spelling (absolute, no empty, `.` or `..` component), so policy decides on the path that is opened.
"""

from __future__ import annotations

import posixpath
import re
from typing import Iterable, Sequence, Tuple

from writ_hostops.errors import HostError
from writ_hostops.protocol import HostFileRoot

SYSTEM_ROOTS = ("/etc", "/proc", "/sys", "/dev", "/boot", "/root")
"""`/`, these folders and everything beneath them may be roots only with `allow_system_root`."""
KERNEL_TREES = ("/proc", "/sys", "/dev")
"""Folders excluded even from an allowed `/`: only a root inside one of them reaches it."""
TEMPORARY = re.compile(r"\.writ-[0-9a-f]{16}\.(lock|tmp|restore)")
"""Names that a write uses beside the file, and a restore in its folder. Requests may not name them."""

DECLARED = "`file_roots` of its entry in the inventory declares them"

MAX_PATH = 4095
MAX_NAME = 255
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x80-\x9f\u2028\u2029]")


def check_path(path: str, name: str) -> None:
    """Raise HostError unless `path` is absolute and in its one spelling; a `..` counts as an escape from the roots."""
    try:
        size = len(path.encode("utf-8"))
    except UnicodeEncodeError:
        raise HostError("invalid_parameter", f"{name} is not valid Unicode") from None
    if _CONTROL.search(path):
        raise HostError("invalid_parameter", f"{name} holds a control character")
    if size > MAX_PATH:
        raise HostError("invalid_parameter", f"{name} is longer than {MAX_PATH} bytes")
    if not path.startswith("/"):
        raise HostError("invalid_parameter", f"{name} must be absolute")
    components = path[1:].split("/")
    if ".." in components:
        raise HostError("outside_roots", f"{name} holds a `..`")
    if path != "/" and (path.startswith("//") or posixpath.normpath(path) != path):
        raise HostError("invalid_parameter", f"{name} must have no empty or `.` component and no slash at the end")
    if any(len(component.encode("utf-8")) > MAX_NAME for component in components):
        raise HostError("invalid_parameter", f"{name} has a component of more than {MAX_NAME} bytes")
    if TEMPORARY.fullmatch(components[-1]):
        raise HostError("invalid_parameter", f"{name} is a name that Writ keeps for its own temporary files")


def locate(path: str, roots: Iterable[HostFileRoot]) -> Tuple[str, str]:
    """Return the longest declared root that holds `path`, and `path` relative to it; HostError `outside_roots` without
    one.
    """
    holding = [root for root in roots if within(path, root.path)]
    if not holding:
        raise HostError("outside_roots", f"{path} is not beneath any file root of the target: {DECLARED}")
    root = max(holding, key=lambda item: (len(item.path), not item.allow_system_root))
    _check_root(root, path)
    return root.path, posixpath.relpath(path, root.path)


def within(path: str, folder: str) -> bool:
    """Return whether `path` is `folder` or beneath it. Both are in their one spelling."""
    return folder == "/" or path == folder or path.startswith(folder + "/")


def _check_root(root: HostFileRoot, path: str) -> None:
    check_path(root.path, "file root")
    if not root.allow_system_root and (root.path == "/" or _inside(root.path, SYSTEM_ROOTS)):
        raise HostError("outside_roots", f"{root.path} is a system folder and is not declared with allow_system_root")
    if any(within(path, tree) and not within(root.path, tree) for tree in KERNEL_TREES):
        raise HostError("outside_roots", f"{path} is the kernel's, and no file root inside it is declared")


def _inside(path: str, folders: Sequence[str]) -> bool:
    return any(within(path, folder) for folder in folders)
