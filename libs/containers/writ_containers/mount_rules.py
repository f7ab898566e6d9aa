"""Which folders of the host a container may mount: those below the target's `mount_roots`; pure.

The engine resolves symbolic links itself, on its host, when it mounts: a root in which others than the owner of the
host may make links gives them the whole host. docs/docker.md says so.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath

SOCKETS = frozenset({"docker.sock", "podman.sock", "containerd.sock", "crio.sock"})
"""By whatever folder they are reached: `/var/run` is a link to `/run`."""


def is_beneath(path: str, roots: Iterable[str]) -> bool:
    """Whether `path` is one of these folders or in one. A path that is not in its shortest form is in none."""
    if str(PurePosixPath(path)) != path or ".." in PurePosixPath(path).parts:
        return False
    return any(PurePosixPath(path).is_relative_to(root) for root in roots if root.startswith("/"))


def is_engine_socket(path: str) -> bool:
    """Whether it is the socket of an engine, which rules the whole host."""
    return PurePosixPath(path).name in SOCKETS
