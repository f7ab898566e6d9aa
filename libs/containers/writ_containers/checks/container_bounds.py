"""Bounds of a container's lists: images, published ports, mounts, networks, capabilities; pure. One judge for
container_create, container_update and each service of a stack.

A bound is a parameter `only_*` of the request, or its default from a rule. Without a bound the list is unlimited. An
empty bound permits nothing.
"""

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from writ_containers.checks.breakouts import ContainerSettings, added_capabilities, capability, is_beneath, refusal
from writ_containers.checks.image_names import is_image_within
from writ_contracts.errors import Invalid

ANY_ADDRESS = "*"
ALL_PORTS = (1, 65_535)


class PortRange(NamedTuple):
    """Ports of the host at one address; `*` are all addresses."""

    address: str
    first: int
    last: int

    def __str__(self) -> str:
        ports = "" if (self.first, self.last) == ALL_PORTS else f":{self.first}"
        return f"{self.address}{ports}" + (f"-{self.last}" if ports and self.last != self.first else "")


def port_range(address: str | None, published: str | None) -> PortRange:
    """Return the host ports of a published port: without an address on all addresses, without a port any free one."""
    first, _, last = (published or "").partition("-")
    ends = sorted((int(first), int(last or first))) if first and int(first) else ALL_PORTS
    return PortRange(_address(address or ANY_ADDRESS), *ends)


def refuse_out_of_bounds(containers: Sequence[ContainerSettings], parameters: Mapping[str, Any]) -> None:
    """Raise Invalid (`bounds_refused`) naming each setting outside a bound of `given`."""
    refused = [
        f"{one.name}: {what} is outside {name}"
        for one in containers
        for name, judge in _JUDGES.items()
        if parameters.get(name) is not None
        for what in judge(one, parameters[name])
    ]
    if refused:
        raise Invalid(refusal(refused), code="bounds_refused")


def _images(one: ContainerSettings, bound: Sequence[str]) -> Iterator[str]:
    if one.image and not any(is_image_within(one.image, each) for each in bound):
        yield f"image {one.image}"


def _ports(one: ContainerSettings, bound: Sequence[str]) -> Iterator[str]:
    """Yield ports outside the bound. On the host's network a program may listen on any."""
    allowed = [_bound_range(text) for text in bound]
    taken = [PortRange(ANY_ADDRESS, *ALL_PORTS)] if one.network == "host" else []
    for each in (*one.ports, *taken):
        port = PortRange(*each)
        if not any(_is_within(port, ports) for ports in allowed):
            yield f"port {port}"


def _mounts(one: ContainerSettings, bound: Sequence[str]) -> Iterator[str]:
    folders = [each for each in bound if each.startswith("/")]
    names = [each for each in bound if not each.startswith("/")]
    yield from (f"the mount of {path}" for path in one.binds if not is_beneath(path, folders))
    yield from (f"volume {volume}" for volume in one.volumes if not _matches(volume, names))


def _networks(one: ContainerSettings, bound: Sequence[str]) -> Iterator[str]:
    yield from (f"network {network}" for network in one.networks if not _matches(network, bound))


def _capabilities(one: ContainerSettings, bound: Sequence[str]) -> Iterator[str]:
    """Yield capabilities outside the bound. A privileged container has all."""
    names = [*added_capabilities(one), *(["ALL"] if one.privileged else [])]
    yield from (f"capability {name}" for name in names if capability(name) not in bound)


_JUDGES: Mapping[str, Callable[[ContainerSettings, Sequence[str]], Iterator[str]]] = {
    "only_images": _images,
    "only_ports": _ports,
    "only_mounts": _mounts,
    "only_networks": _networks,
    "only_capabilities": _capabilities,
}


def _bound_range(text: str) -> PortRange:
    """Take `address[:port or first-last]` apart, as the catalogue's grammar has it."""
    head, bracket, rest = text.rpartition("]")
    address, _, ports = rest.partition(":")
    return port_range(f"{head}{bracket}{address}".strip("[]"), ports)


def _is_within(port: PortRange, allowed: PortRange) -> bool:
    here = allowed.address in (ANY_ADDRESS, port.address)
    return here and allowed.first <= port.first and port.last <= allowed.last


def _address(text: str) -> str:
    """Return the shortest form of an address. Any other text stays as it is, and is within no bound except `*`."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def _matches(name: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
