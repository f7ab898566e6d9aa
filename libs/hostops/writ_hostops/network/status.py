"""network_status: interfaces, addresses, routes and listening sockets, each list cut at LIMIT."""

from __future__ import annotations

from writ_hostops.fields import Fields
from writ_hostops.network import netlink, sockets
from writ_hostops.protocol import Answer, Call

LIMIT = 1000


def run(call: Call) -> Answer:
    """Look at the network. `truncated` names the lists that were longer."""
    Fields(dict(call.parameters), "parameters").end()
    interfaces = netlink.interfaces()
    names = {item["index"]: item["name"] for item in interfaces}
    lists = {
        "interfaces": interfaces,
        "addresses": netlink.addresses(names),
        "routes": netlink.routes(names),
        "listening": sockets.listening(call.stop),
    }
    truncated = [name for name, items in lists.items() if len(items) > LIMIT]
    output = {name: items[:LIMIT] for name, items in lists.items()}
    return Answer(output={**output, "truncated": truncated})
