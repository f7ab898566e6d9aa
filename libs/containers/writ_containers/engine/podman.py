"""Podman's compatible socket, where it differs from a Docker engine; pure."""

from collections.abc import Mapping
from typing import Any

NO_BACKUPS = (
    "Podman's archive of a container gives all files the owner that the container runs as, so a backup would lose "
    "their owners: back up the folder of the volume by the agent of the host (target_path)"
)


def is_podman(version: Mapping[str, Any]) -> bool:
    """Return whether the reply of GET /version is Podman's."""
    return any(one.get("Name") == "Podman Engine" for one in version.get("Components") or ())
