"""Where the parts of an installation are, and where its NATS server listens: `site.yaml`, which `writ init` writes.

Without that file everything is in `$WRIT_HOME`, and `writ up` chooses where NATS listens.
"""

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from writ_documents import shapes, yaml_file

Port = Annotated[int, Meta(ge=1, le=65535)]
Absolute = Annotated[str, Meta(pattern=r"^/", max_length=4096)]

HEAD = "# Where Writ is on this machine. Written by `writ init`; what is in it may be changed while Writ is down.\n"
GROUP = "writ"
"""Of a split installation: its services read its files as members of this group, and only the keeper writes any."""
SSH_AGENT = "writ-agent-ssh"
"""The user of its SSH agents, who is not of that group."""


class Site(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`url` is where clients and agents reach NATS, `listen`, `port` and `monitor_port` (loopback) where it listens."""

    url: str
    listen: str
    port: Port
    monitor_port: Port
    store: Absolute | None = None
    """The journal's folder, as the NATS server sees it, where that is not in `$WRIT_HOME`."""
    state: Absolute | None = None
    """What the keeper writes, where that is not in `$WRIT_HOME`."""

    @property
    def split(self) -> bool:
        """Whether each service runs as a user of its own, started by the system."""
        return self.state is not None


def read_site(path: Path) -> Site | None:
    """None where there is none. Raises ConfigError."""
    return shapes.convert(yaml_file.read(path), Site) if path.exists() else None
