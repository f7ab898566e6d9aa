"""Access of containers and stacks to their host: a flag for each kind of breakout, and bounds of lists.

The agent refuses a setting which breaks out of the container unless its flag is set. A rule allows a request with a
flag only if it names this parameter (`writ_contracts.parameters.BREAKOUT`). There is no bound by default. The agent
refuses anything outside a bound of the request, or of a rule's default.
"""

from typing import Annotated

from msgspec import Meta

from writ_contracts.catalogue.grammar import Capability, ImageBound, MountBound, NetworkBound, PortBound
from writ_contracts.catalogue.spelling import check_image_bound, check_port_bound
from writ_contracts.parameters import BREAKOUT, PUBLIC, Parameters


class ContainerAccess(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Flags for one container."""

    allow_privileged: Annotated[bool, Meta(description="may be privileged: all of the host"), BREAKOUT] = False
    allow_host_network: Annotated[bool, Meta(description="may use the host's network namespace"), BREAKOUT] = False
    allow_devices: Annotated[bool, Meta(description="may use devices of the host"), BREAKOUT] = False
    allow_capabilities: Annotated[
        bool, Meta(description="may have capabilities beyond the engine's default ones"), BREAKOUT
    ] = False
    allow_host_mounts: Annotated[
        bool, Meta(description="may mount folders outside the target's mount_roots, and files of Writ"), BREAKOUT
    ] = False
    allow_engine_socket: Annotated[
        bool, Meta(description="may mount the socket of an engine, or a folder above it"), BREAKOUT
    ] = False
    only_images: Annotated[
        Annotated[list[ImageBound], Meta(max_length=64)] | None, Meta(description="every image is one of these"), PUBLIC
    ] = None
    only_ports: Annotated[
        Annotated[list[PortBound], Meta(max_length=64)] | None,
        Meta(description="every published port is on one of these"),
        PUBLIC,
    ] = None
    only_mounts: Annotated[
        Annotated[list[MountBound], Meta(max_length=64)] | None,
        Meta(description="every folder of the host, and every volume that is not of the stack, is one of these"),
        PUBLIC,
    ] = None
    only_networks: Annotated[
        Annotated[list[NetworkBound], Meta(max_length=64)] | None,
        Meta(description="every network that is not of the stack is one of these"),
        PUBLIC,
    ] = None
    only_capabilities: Annotated[
        Annotated[list[Capability], Meta(max_length=64)] | None,
        Meta(description="every capability beyond the engine's default ones is one of these"),
        PUBLIC,
    ] = None

    def __post_init__(self) -> None:
        for image in self.only_images or ():
            check_image_bound("only_images", image)
        for port in self.only_ports or ():
            check_port_bound("only_ports", port)


class StackAccess(ContainerAccess, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Flags for the services of a stack: those of a container, and those for settings of stacks alone."""

    allow_host_namespaces: Annotated[
        bool, Meta(description="may use the host's pid, ipc, uts, user or cgroup namespace"), BREAKOUT
    ] = False
    allow_unconfined: Annotated[
        bool, Meta(description="may weaken seccomp, AppArmor or SELinux, or set kernel parameters"), BREAKOUT
    ] = False
    allow_shared: Annotated[
        bool, Meta(description="may use volumes, networks and namespaces of what is not of the stack"), BREAKOUT
    ] = False
