"""The site of an installation: folders of its parts, and addresses of its NATS server. `writ init` writes `site.yaml`.

Without that file everything is in `$WRIT_HOME`, and `writ up` chooses NATS's address.
"""

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from writ_documents import shapes, yaml_file

Port = Annotated[int, Meta(ge=1, le=65535)]
Absolute = Annotated[str, Meta(pattern=r"^/", max_length=4096)]

HEAD = "# The addresses and folders of Writ on this machine. Written by `writ init`; edit it only while Writ is down.\n"
GROUP = "writ"
"""The group of a split installation: its services read its files as members, and only the provisioner writes any."""
TLS_GROUP = "writ-tls"
"""The group of NATS's user, and the provisioner's, that reads the keys of NATS's certificates."""
SSH_AGENT = "writ-agent-ssh"
"""The user of its SSH agents, who is not in that group."""


class Site(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`url` is NATS's address for clients and agents; it listens on `listen`, `port` and `monitor_port` (loopback)."""

    url: str
    listen: str
    port: Port
    monitor_port: Port
    store: Absolute | None = None
    """The journal's folder, as the NATS server sees it, where that is not in `$WRIT_HOME`."""
    state: Absolute | None = None
    """The provisioner's folder, where that is not in `$WRIT_HOME`."""

    @property
    def split(self) -> bool:
        """Return whether each service runs as a user of its own, started by the system."""
        return self.state is not None


def read_site(path: Path) -> Site | None:
    """Return the site; None without the file. Raises ConfigError."""
    return shapes.convert(yaml_file.read(path), Site) if path.exists() else None
