"""The repository name of snapshots: local alone, so a pull of it is refused."""

REPOSITORY = "writops-snapshot"
WITHOUT_DOCKER_HUB = f"localhost/{REPOSITORY}"
KNOWN_AS = (REPOSITORY, f"docker.io/library/{REPOSITORY}", WITHOUT_DOCKER_HUB)
"""The repository as Docker shows it, and Podman, also with `compat_api_enforce_docker_hub = false`."""


def is_snapshot(reference: str) -> bool:
    """Return whether a reference names a snapshot, which no registry has."""
    return reference.partition("@")[0].partition(":")[0].rpartition("/")[2] == REPOSITORY
