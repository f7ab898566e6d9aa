"""What a container or a stack may use of its host beyond its own namespaces: a flag for each, false by default.

The agent refuses a setting which breaks out of the container unless its flag is set. A rule allows a request with a
flag only if it names this parameter (`writ_contracts.parameters.BREAKOUT`).
"""

from typing import Annotated

from msgspec import Meta

from writ_contracts.parameters import BREAKOUT, Parameters


class ContainerAccess(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Flags for one container."""

    allow_privileged: Annotated[bool, Meta(description="may be privileged: all of the host"), BREAKOUT] = False
    allow_host_network: Annotated[bool, Meta(description="may use the host's network namespace"), BREAKOUT] = False
    allow_devices: Annotated[bool, Meta(description="may use devices of the host"), BREAKOUT] = False
    allow_capabilities: Annotated[
        bool, Meta(description="may have capabilities beyond the engine's default ones"), BREAKOUT
    ] = False
    allow_host_mounts: Annotated[
        bool, Meta(description="may mount folders outside the target's mount_roots"), BREAKOUT
    ] = False
    allow_engine_socket: Annotated[
        bool, Meta(description="may mount the socket of an engine, or a folder above it"), BREAKOUT
    ] = False


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
