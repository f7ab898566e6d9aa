"""The places on a host that a target's entry declares: file roots and networks. Pure.

For a run hostops decides it, which stands alone (`writ_hostops.files.paths`, `writ_hostops.network.scan`).
`tests/contracts/test_declared_places.py` compares both.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from writ_contracts.backends import HOSTS
from writ_contracts.inventory import FileRoot, Target
from writ_contracts.operations import Operation

_ONE, _TARGET = ("file_path",), ("target_path",)
PATHS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "file_read": _ONE,
        "file_write": _ONE,
        "file_delete": _ONE,
        "file_copy": ("source_path", "dest_path"),
        "backup_create": _TARGET,
        "backup_restore": _TARGET,
        "snapshot_create": _TARGET,
        "snapshot_list": _TARGET,
        "snapshot_restore": _TARGET,
        "snapshot_delete": _TARGET,
    }
)
"""The parameters with paths beneath file roots, by operation."""
SYSTEM_ROOTS = ("/etc", "/proc", "/sys", "/dev", "/boot", "/root")
KERNEL_TREES = ("/proc", "/sys", "/dev")
DECLARED = "`file_roots` of its entry in the inventory declares them"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def undeclared(target: Target, operation: Operation, parameters: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the code and message with which an operation on a host fails since its entry does not declare a place."""
    if target.backend not in HOSTS:
        return None
    if operation.name == "network_scan":
        return _outside_networks(str(parameters["cidr"]), target.scan_networks)
    paths = (parameters.get(name) for name in PATHS.get(operation.name, ()))
    found = (_outside_roots(str(path), target.roots()) for path in paths if path)
    return next((("outside_roots", message) for message in found if message), None)


def _outside_roots(path: str, roots: Sequence[FileRoot]) -> str:
    holding = [root for root in roots if _within(path, root.path)]
    if not holding:
        return f"{path} is not beneath any file root of the target: {DECLARED}"
    root = max(holding, key=lambda item: (len(item.path), not item.allow_system_root))
    if not root.allow_system_root and (root.path == "/" or _inside(root.path, SYSTEM_ROOTS)):
        return f"{root.path} is a system folder and is not declared with allow_system_root"
    if any(_within(path, tree) and not _within(root.path, tree) for tree in KERNEL_TREES):
        return f"{path} is the kernel's, and no file root inside it is declared"
    return ""


def _within(path: str, folder: str) -> bool:
    return folder == "/" or path == folder or path.startswith(folder + "/")


def _inside(path: str, folders: Sequence[str]) -> bool:
    return any(_within(path, folder) for folder in folders)


def _outside_networks(cidr: str, declared: Sequence[str]) -> tuple[str, str] | None:
    network = ipaddress.ip_network(cidr)
    if any(_holds(ipaddress.ip_network(outer, strict=False), network) for outer in declared):
        return None
    return "outside_networks", f"{network} is not inside a network that the target declares for scans"


def _holds(outer: Network, inner: Network) -> bool:
    match outer, inner:
        case ipaddress.IPv4Network(), ipaddress.IPv4Network():
            return inner.subnet_of(outer)
        case ipaddress.IPv6Network(), ipaddress.IPv6Network():
            return inner.subnet_of(outer) and not inner.overlaps(_MAPPED)
        case _:
            return False
