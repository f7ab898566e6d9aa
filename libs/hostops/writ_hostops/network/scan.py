"""network_scan: find the TCP ports that accept connections, in a network declared for the target and no other.

Plain connects, no raw packets: at most `rate` begin a second and AT_ONCE are open. If time runs out first, the result
has `complete` false and the ports found until then.
"""

from __future__ import annotations

import errno
import ipaddress
import selectors
import socket
import struct
import time
from typing import Dict, Iterator, List, Tuple, Union

from writ_hostops.errors import HostError, system_errors
from writ_hostops.fields import Fields
from writ_hostops.protocol import HostReply, OperationCall

AT_ONCE = 256
PATIENCE = 1.5
"""Seconds for one connection. A port that does not answer by then counts as closed."""
MOST_ADDRESSES = 65_536
MOST_PORTS = 1024
MOST_FOUND = 50_000
_RESERVE = 0.5
_TELL_EVERY = 2.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
"""Addresses mapped to IPv4, whatever is declared for IPv6."""

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Door = Tuple[str, int]


def run(call: OperationCall) -> HostReply:
    """Scan the network. Refused as a whole unless all of `cidr` is inside one declared network."""
    fields = Fields(dict(call.parameters), "parameters")
    network = _network(fields.text("cidr"), fields)
    ports = _ports(fields)
    rate = fields.integer("rate", 100, 1, 10_000)
    fields.end()
    _refuse_undeclared(network, call.target.scan_networks)
    scan = _Scan(call, rate, network.version)
    complete = scan.run(_endpoints(network, ports))
    open_ports = {address: sorted(scan.found[address]) for address in sorted(scan.found, key=ipaddress.ip_address)}
    return HostReply(
        output={"cidr": str(network), "open_ports": open_ports, "tried": scan.tried, "complete": complete},
    )


def _network(text: str, fields: Fields) -> Network:
    try:
        if "/" not in text or "%" in text:  # an interface is no network
            raise ValueError
        network = ipaddress.ip_network(text, strict=True)
    except ValueError:
        raise fields.wrong("cidr", "is not a network in CIDR form without host bits") from None
    if network.num_addresses > MOST_ADDRESSES:
        raise fields.wrong("cidr", f"holds more than {MOST_ADDRESSES} addresses")
    return network


def _ports(fields: Fields) -> List[int]:
    ports = fields.items("ports") or [22, 80, 443]
    wrong = [port for port in ports if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65535]
    if wrong or len(ports) > MOST_PORTS:
        raise fields.wrong("ports", f"must be at most {MOST_PORTS} numbers from 1 to 65535")
    return sorted(set(ports))


def _refuse_undeclared(network: Network, declared: Tuple[str, ...]) -> None:
    if not declared:
        raise HostError("not_declared", "the target declares no scan_networks")
    for text in declared:
        try:
            outer = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise HostError("invalid_parameter", "target.scan_networks has an entry that is no network") from None
        if _inside(network, outer):
            return
    raise HostError("outside_networks", f"{network} is not inside a network that the target declares for scans")


def _inside(inner: Network, outer: Network) -> bool:
    return (
        inner.version == outer.version
        and not (isinstance(inner, ipaddress.IPv6Network) and inner.overlaps(_MAPPED))
        and inner.network_address in outer
        and inner.broadcast_address in outer
        and inner.prefixlen >= outer.prefixlen
    )


def _endpoints(network: Network, ports: List[int]) -> Iterator[Door]:
    """Yield port by port over all addresses, so no host gets all connections at once."""
    for port in ports:
        for address in network.hosts():
            yield str(address), port


class _Scan:
    """The open connections and the ports found."""

    def __init__(self, call: OperationCall, rate: int, version: int) -> None:
        self.tried = 0
        self.found: Dict[str, List[int]] = {}
        self._call = call
        self._rate = rate
        self._family = socket.AF_INET if version == 4 else socket.AF_INET6
        self._ready = selectors.DefaultSelector()
        self._open: Dict[socket.socket, Tuple[Door, float]] = {}
        self._count = 0
        self._began = self._reported_at = time.monotonic()

    def run(self, endpoints: Iterator[Door]) -> bool:
        """Scan all endpoints. Return whether all were tried in time."""
        try:
            for endpoint in endpoints:
                if not self._may_go_on():
                    return False
                self._begin(endpoint)
            while self._open:
                if not self._may_go_on(waiting=True):
                    return False
            return True
        finally:
            for connection in list(self._open):
                self._close(connection)
            self._ready.close()

    def _may_go_on(self, waiting: bool = False) -> bool:
        """Handle answers until the next connection may begin. Return False when time is up or enough ports are
        found.
        """
        while True:
            if self._call.stop.cancelled:
                raise HostError("cancelled", "it was cancelled; nothing was changed")
            if self._call.stop.remaining() <= _RESERVE or self._count >= MOST_FOUND:
                return False
            ahead = self._began + self.tried / self._rate - time.monotonic()
            free = ahead <= 0 and len(self._open) < AT_ONCE
            self._poll(0.05 if waiting or not free else 0.0, ahead)
            if waiting or free:
                return True

    def _poll(self, seconds: float, ahead: float) -> None:
        events = self._ready.select(max(0.0, min(seconds, ahead) if ahead > 0 else seconds)) if self._open else []
        if not self._open and ahead > 0:
            time.sleep(min(ahead, 0.05))
        for key, _ in events:
            connection = key.fileobj
            if isinstance(connection, socket.socket):
                self._settle(connection)
        now = time.monotonic()
        for connection in [one for one, (_, since) in self._open.items() if now - since > PATIENCE]:
            self._close(connection)
        if now - self._reported_at >= _TELL_EVERY:
            self._reported_at = now
            self._call.progress(f"{self.tried} connections tried, {self._count} open ports found")

    def _begin(self, endpoint: Door) -> None:
        with system_errors("a socket for the scan"):
            connection = socket.socket(self._family, socket.SOCK_STREAM)
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.tried += 1
        error = connection.connect_ex(endpoint)
        if error == errno.EINPROGRESS:
            self._open[connection] = (endpoint, time.monotonic())
            self._ready.register(connection, selectors.EVENT_WRITE)
            return
        connection.close()
        if error == 0:
            self._note(endpoint)

    def _settle(self, connection: socket.socket) -> None:
        endpoint = self._open[connection][0]
        if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            self._note(endpoint)
        self._close(connection)

    def _note(self, endpoint: Door) -> None:
        self._count += 1
        self.found.setdefault(endpoint[0], []).append(endpoint[1])

    def _close(self, connection: socket.socket) -> None:
        self._ready.unregister(connection)
        del self._open[connection]
        connection.close()
