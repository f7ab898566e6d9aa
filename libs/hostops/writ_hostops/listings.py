"""Names of things on this host for the allowlists of a policy: services, packages, backups and so on. A list is
complete or an error.
"""

from __future__ import annotations

from typing import Callable, Dict, Iterable

from writ_hostops.backups import listing as backups
from writ_hostops.fields import Fields
from writ_hostops.network import sockets
from writ_hostops.packages import listing as packages
from writ_hostops.protocol import HostReply, OperationCall
from writ_hostops.snapshots import operations as snapshots
from writ_hostops.systemd import services


def _listing(names_of: Callable[[OperationCall], Iterable[str]]) -> Callable[[OperationCall], HostReply]:
    def listed(call: OperationCall) -> HostReply:
        Fields(dict(call.parameters), "parameters").end()
        return HostReply(output={"names": sorted(set(names_of(call)))})

    return listed


LISTINGS: Dict[str, Callable[[OperationCall], HostReply]] = {
    "list_services": _listing(lambda _: services.names()),
    "list_ports": _listing(lambda _: map(str, sockets.ports())),
    "list_file_roots": _listing(lambda call: (root.path for root in call.target.file_roots)),
    "list_packages": _listing(packages.names),
    "list_backups": _listing(backups.names),
    "list_snapshots": _listing(snapshots.names),
}
"""By name, for the action `listing`; listings are no operations. Units have their full names, and ports are those with
a listener, TCP and UDP.
"""
