"""Operations that read the network, from the target."""

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from writ_contracts.backends import ENGINES, HOSTS
from writ_contracts.catalogue.grammar import Cidr, HostName, Port
from writ_contracts.catalogue.spelling import check_host, check_network
from writ_contracts.operations import Operation, Risk
from writ_contracts.parameters import PUBLIC, Output, Parameters, Timeout

MAX_SCANNED_ADDRESSES = 65_536


class NetworkStatus(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No parameters besides the timeout."""

    timeout: Annotated[Timeout, Meta(le=60)] = 15


class NetworkTest(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The host to reach, the protocol, and the number of tries. `tcp` needs a port; `icmp` and `dns` have none."""

    host: Annotated[HostName, PUBLIC]
    port: Annotated[Port | None, PUBLIC] = None
    protocol: Annotated[Literal["icmp", "tcp", "dns", "http"], PUBLIC] = "icmp"
    count: Annotated[int, Meta(ge=1, le=20), PUBLIC] = 3
    timeout: Annotated[Timeout, Meta(le=120)] = 30

    def __post_init__(self) -> None:
        check_host("host", self.host)
        if self.protocol == "tcp" and self.port is None:
            raise ValueError("port is needed for protocol tcp")
        if self.protocol in ("icmp", "dns") and self.port is not None:
            raise ValueError(f"port has no meaning for protocol {self.protocol}")


class NetworkScan(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The network, the TCP ports, and the number of tries a second."""

    cidr: Annotated[Cidr, PUBLIC]
    ports: Annotated[list[Port], Meta(min_length=1, max_length=1024), PUBLIC] = field(
        default_factory=lambda: [22, 80, 443]
    )
    rate: Annotated[int, Meta(ge=1, le=10_000), PUBLIC] = 100
    timeout: Annotated[Timeout, Meta(le=900)] = 120

    def __post_init__(self) -> None:
        check_network("cidr", self.cidr, most=MAX_SCANNED_ADDRESSES)


class NetworkView(Output, frozen=True, kw_only=True):
    """Interfaces with their addresses, routes, and listening sockets, as the kernel names them."""

    interfaces: Annotated[list[dict[str, Any]], PUBLIC] = field(default_factory=list)
    routes: Annotated[list[dict[str, Any]], PUBLIC] = field(default_factory=list)
    listening: Annotated[list[dict[str, Any]], PUBLIC] = field(default_factory=list)
    truncated: Annotated[bool, PUBLIC] = False


class NetworkTested(Output, frozen=True, kw_only=True):
    """The number of replies, and their latency in milliseconds."""

    host: Annotated[str, PUBLIC] = ""
    address: Annotated[str, PUBLIC] = ""
    reachable: Annotated[bool, PUBLIC] = False
    sent: Annotated[int, PUBLIC] = 0
    received: Annotated[int, PUBLIC] = 0
    fastest_ms: Annotated[float | None, PUBLIC] = None
    average_ms: Annotated[float | None, PUBLIC] = None
    slowest_ms: Annotated[float | None, PUBLIC] = None
    detail: str = ""


class NetworkScanned(Output, frozen=True, kw_only=True):
    """Open ports by address. `complete` false: the timeout came before the end."""

    cidr: Annotated[str, PUBLIC] = ""
    open_ports: Annotated[dict[str, list[int]], PUBLIC] = field(default_factory=dict)
    tried: Annotated[int, PUBLIC] = 0
    complete: Annotated[bool, PUBLIC] = False


OPERATIONS = (
    Operation(
        name="network_status",
        summary="Show interfaces, addresses, routes and listening sockets.",
        parameters=NetworkStatus,
        output=NetworkView,
        risk=Risk.READ,
        backends=ENGINES,
        idempotent=True,
    ),
    Operation(
        name="network_test",
        summary="Test whether a host is reachable from the target.",
        parameters=NetworkTest,
        output=NetworkTested,
        risk=Risk.READ,
        backends=HOSTS,
        idempotent=True,
    ),
    Operation(
        name="network_scan",
        summary="Scan one of the target's declared networks for open ports.",
        parameters=NetworkScan,
        output=NetworkScanned,
        risk=Risk.READ,
        backends=HOSTS,
        declared="scan_networks",
    ),
)
