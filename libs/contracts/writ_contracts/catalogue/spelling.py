"""One spelling for hosts, networks, published ports and images, which have many.

A policy compares text. `2130706433`, `0177.0.0.1`, `LOCALHOST.` and `::ffff:127.0.0.1` all reach the host known to a
policy as `127.0.0.1` or `localhost`. So each is refused, and the message gives the right spelling. Nothing is
rewritten: the principal's signature is over the parameters as they were sent. Sources: inet_aton(3), RFC 5952 (text of
IPv6 addresses), the URL standard (a host whose last label is a number is an IPv4 address), distribution/reference.
"""

import ipaddress
import re

_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_IMAGE = re.compile(
    r"(?P<name>[^@]*?)(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>[^@]+))?", re.DOTALL
)
_DOCKER_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
_WITH_IPV4 = (
    ipaddress.IPv6Network("::ffff:0:0/96"),  # mapped
    ipaddress.IPv6Network("::ffff:0:0:0/96"),  # translated: SIIT, RFC 7915
    ipaddress.IPv6Network("64:ff9b::/96"),  # NAT64's own prefix, RFC 6052
    ipaddress.IPv6Network("2002::/16"),  # 6to4, RFC 3056
)
"""Networks whose addresses have an IPv4 address within: a translator or a tunnel delivers to it."""
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_NOT_COMPATIBLE = (ipaddress.IPv6Address("::"), ipaddress.IPv6Address("::1"))

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def check_host(field: str, host: str) -> None:
    """Raises ValueError unless it is a name in lower case, a dotted quad, or an IPv6 address in its shortest form."""
    if ":" in host:
        _check_ipv6(field, host)
    elif _NUMBER.fullmatch(host.rpartition(".")[2]):
        _check_ipv4(field, host)
    elif host != host.lower() or host.endswith("."):
        raise ValueError(
            f"{field} is a host name in another spelling: write it in lower case, without a dot at its end"
        )


def check_network(field: str, cidr: str, *, most: int) -> None:
    """Raises ValueError where `cidr` is no network, has host bits set, holds more than `most` addresses, or is not in
    its shortest spelling.
    """
    try:
        network: Network = ipaddress.ip_network(cidr, strict=True)
    except ValueError:
        raise ValueError(f"{field} is not a network in CIDR form without host bits") from None
    if network.num_addresses > most:
        raise ValueError(f"{field} holds more than {most} addresses")
    if str(network) != cidr:
        raise ValueError(f"{field} is a network in another spelling: write its address in the shortest form (RFC 5952)")
    if isinstance(network, ipaddress.IPv6Network):
        _refuse_ipv4_within(field, network.network_address)


def check_published(field: str, port: str) -> None:
    """Raises ValueError where the address of `[address:][host port:]container port[/udp]` has another spelling."""
    if port.startswith("["):
        _check_ipv6(field, port[1 : port.index("]")])
    elif port.count(":") == 2:
        _check_ipv4(field, port.partition(":")[0])


def check_port_bound(field: str, bound: str) -> None:
    """Raises ValueError where the address of `address[:ports]` has another spelling, or the range is reversed."""
    if bound.startswith("["):
        _check_ipv6(field, bound[1 : bound.index("]")])
    elif not bound.startswith("*"):
        _check_ipv4(field, bound.partition(":")[0])
    first, dash, last = bound.rpartition("]")[2].rpartition(":")[2].partition("-")
    if dash and int(first) > int(last):
        raise ValueError(f"{field} has a range of ports whose end is before its start")


def check_image_bound(field: str, bound: str) -> None:
    """Raises ValueError for a bound that no image has: images of one word are in `library` of Docker Hub."""
    registry, _, repository = bound.partition("/")
    if registry == "docker.io" and "/" not in repository and "*" not in repository.partition(":")[0]:
        raise ValueError(f"{field}: the images of Docker itself are docker.io/library/{repository}")
    if registry in _DOCKER_HUB - {"docker.io"}:
        raise ValueError(f"{field}: the default registry is written docker.io")
    if registry != "*" and registry != "docker.io":
        if "." not in registry and ":" not in registry and registry != "localhost":
            raise ValueError(f"{field} begins with {registry}, which is not a registry: write docker.io/{bound}")
        _check_registry(field, registry)


def check_image(field: str, image: str) -> None:
    """Raises ValueError for a longer name of an image: Docker Hub spelt out, `library/`, `:latest`, a tag beside a
    digest, the port of HTTPS.
    """
    match = _IMAGE.fullmatch(image)
    if match is None or ":vztmpl/" in image:
        return
    registry, slash, rest = match["name"].partition("/")
    if slash and ("." in registry or ":" in registry or registry == "localhost"):
        _check_registry(field, registry)
    elif slash and registry == "library":
        raise ValueError(f"{field} must be in its shortest form: leave out library/")
    if match["digest"] and match["tag"]:
        raise ValueError(f"{field} has a tag and a digest, and only the digest counts: leave out the tag")
    if match["tag"] == "latest":
        raise ValueError(f"{field} must be in its shortest form: leave out :latest")
    if not rest and slash:
        raise ValueError(f"{field} is not an image reference")


def _check_registry(field: str, registry: str) -> None:
    host = registry[1 : registry.index("]")] if registry.startswith("[") else registry.partition(":")[0]
    port = registry[len(host) + 2 * registry.startswith("[") :].removeprefix(":")
    check_host(field, host)
    if host in _DOCKER_HUB:
        raise ValueError(f"{field} must be in its shortest form: leave out the default registry")
    if port and (port == "443" or port.startswith("0")):
        raise ValueError(f"{field} names the port of its registry in another spelling: leave out 443 and leading zeros")


def _check_ipv4(field: str, text: str) -> None:
    try:
        known = str(ipaddress.IPv4Address(text))
    except ValueError:
        known = ""
    if known != text:
        raise ValueError(
            f"{field} is an IPv4 address in another spelling: write four decimal numbers without leading zeros"
        )


def _check_ipv6(field: str, text: str) -> None:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError(f"{field} is not an IPv6 address") from None
    _refuse_ipv4_within(field, address)
    if str(address) != text:
        raise ValueError(f"{field} is an IPv6 address in another spelling: write its shortest form (RFC 5952)")


def _refuse_ipv4_within(field: str, address: ipaddress.IPv6Address) -> None:
    if any(address in network for network in _WITH_IPV4) or (address in _COMPATIBLE and address not in _NOT_COMPATIBLE):
        raise ValueError(f"{field} is an IPv4 address within an IPv6 address: write the IPv4 address")
