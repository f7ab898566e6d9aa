"""The built-in backends, and what the targets of each are. A plugin may bring further ones, for its own operations.

How the agents of each are started is in `writ_installation.backends`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from msgspec import Struct

LOCAL, SSH, DOCKER, PROXMOX = "local", "ssh", "docker", "proxmox"


class TargetKind(Struct, frozen=True, kw_only=True):
    """The targets of one backend.

    `host`: a Linux host, with a container engine if its entry declares one. `engine`: it has a container engine, or may
    have one. `own`: the host of the agent itself, so that each has a pool of its own.
    """

    host: bool = False
    engine: bool = False
    own: bool = False


TARGET_KINDS: Mapping[str, TargetKind] = MappingProxyType(
    {
        LOCAL: TargetKind(host=True, engine=True, own=True),
        SSH: TargetKind(host=True, engine=True),
        DOCKER: TargetKind(engine=True),
        PROXMOX: TargetKind(),
    }
)
EVERY = tuple(TARGET_KINDS)
HOSTS = tuple(name for name, kind in TARGET_KINDS.items() if kind.host)
ENGINES = tuple(name for name, kind in TARGET_KINDS.items() if kind.engine)


def default_pool(backend: str, host: str) -> str:
    """Return the pool of a target whose entry names none: the backend's name; for an agent's own host also the host."""
    kind = TARGET_KINDS.get(backend)
    return f"{backend}-{host}" if kind is not None and kind.own else backend
