"""Names of things on this host for the allowlists of a policy: services, packages, backups and so on. A list is
complete or an error.
"""

from __future__ import annotations

from typing import Iterable, List

from writ_hostops.backups import listing as backups
from writ_hostops.fields import Fields
from writ_hostops.network import sockets
from writ_hostops.packages import listing as packages
from writ_hostops.protocol import HostReply, OperationCall
from writ_hostops.snapshots import operations as snapshots
from writ_hostops.systemd import services


def list_services(call: OperationCall) -> HostReply:
    """List the units that systemd has loaded or could load, by their full names."""
    Fields(dict(call.parameters), "parameters").end()
    return _names(services.names())


def list_ports(call: OperationCall) -> HostReply:
    """List the ports with a listener, TCP and UDP, as text."""
    Fields(dict(call.parameters), "parameters").end()
    return _names(str(port) for port in sockets.ports())


def list_packages(call: OperationCall) -> HostReply:
    """List the installed packages without problems."""
    Fields(dict(call.parameters), "parameters").end()
    return _names(packages.names(call))


def list_backups(call: OperationCall) -> HostReply:
    """List the ids of Writ's own backups of this host."""
    Fields(dict(call.parameters), "parameters").end()
    return _names(backups.names(call))


def list_snapshots(call: OperationCall) -> HostReply:
    """List the names of the snapshots of all folders beneath the target's file roots."""
    Fields(dict(call.parameters), "parameters").end()
    return _names(snapshots.names(call))


def list_file_roots(call: OperationCall) -> HostReply:
    """List the folders that the target's inventory entry opens to file operations."""
    Fields(dict(call.parameters), "parameters").end()
    return _names(root.path for root in call.target.file_roots)


def _names(names: Iterable[str]) -> HostReply:
    unique: List[str] = sorted(set(names))
    return HostReply(output={"names": unique})
