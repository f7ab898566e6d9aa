"""network_status: interfaces with their addresses, routes and listening sockets, each list cut at LIMIT."""

from __future__ import annotations

from typing import Any, Dict

from writ_hostops.fields import Fields
from writ_hostops.network import netlink, sockets
from writ_hostops.protocol import HostReply, OperationCall

LIMIT = 1000


def run(call: OperationCall) -> HostReply:
    """Report the network. `truncated`: a list was longer than reported."""
    Fields(dict(call.parameters), "parameters").end()
    interfaces = netlink.interfaces()
    names = {item["index"]: item["name"] for item in interfaces}
    addresses = netlink.addresses()
    lists = {
        "interfaces": [{**item, "addresses": addresses.get(item["index"], [])} for item in interfaces],
        "routes": netlink.routes(names),
        "listening": sockets.listening(call.stop),
    }
    output: Dict[str, Any] = {name: items[:LIMIT] for name, items in lists.items()}
    return HostReply(output={**output, "truncated": any(len(items) > LIMIT for items in lists.values())})
