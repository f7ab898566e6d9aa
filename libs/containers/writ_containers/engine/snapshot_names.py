"""The repository name of snapshots: local alone, so a pull of it is refused."""

REPOSITORY = "writops-snapshot"
KNOWN_AS = (REPOSITORY, f"docker.io/library/{REPOSITORY}")
"""The repository as Docker and as Podman show it."""


def is_snapshot(reference: str) -> bool:
    """Return whether a reference names a snapshot, which no registry has."""
    return reference.partition("@")[0].partition(":")[0].rpartition("/")[2] == REPOSITORY
