"""The lab's restic repository on a host, and the declaration of that host's backups."""

import json
from dataclasses import dataclass
from typing import Any

from tests.lab.hosts import Host

REPOSITORY, PASSWORD_FILE = "/srv/vault", "/etc/writ/restic-password"
PASSWORD = "correct horse battery"
DECLARED = {"repository": REPOSITORY, "password_file": PASSWORD_FILE}
"""`backup` of a target."""


@dataclass
class Vault:
    host: Host

    def restic(self, *words: str) -> str:
        """Return the output of restic itself."""
        told = ["--repo", REPOSITORY, "--password-file", PASSWORD_FILE, "--no-cache", *words]
        return self.host.run("restic", *told, timeout=120.0)

    def ids(self) -> list[str]:
        """Return Writ's ids of the backups, oldest first."""
        snapshots: list[dict[str, Any]] = json.loads(self.restic("snapshots", "--json", "--no-lock"))
        tags = [tag for one in snapshots for tag in one.get("tags", ())]
        return [tag.removeprefix("writ-id=") for tag in tags if tag.startswith("writ-id=")]


def make(host: Host) -> Vault:
    """Make it if it is absent, without any backup of Writ."""
    host.write(PASSWORD_FILE, PASSWORD, "0600")
    vault = Vault(host)
    if host.attempt("test", "-e", f"{REPOSITORY}/config")[0] != 0:
        vault.restic("init")
    return vault
