"""The `connection` of an SSH target in the inventory, typed; unknown fields are refused."""

from fnmatch import fnmatchcase
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from writ_agent.backends.connection_entry import typed_connection
from writ_agent.backends.connection_retries import Retries
from writ_contracts.host_addresses import IPV6, ZONE, ZonedHost, bare_host
from writ_contracts.inventory import Target

KeyName = Annotated[
    str, Meta(pattern=rf"^(?:[A-Za-z0-9:][A-Za-z0-9._:-]{{0,252}}(?:{ZONE})?|\[{IPV6}(?:{ZONE})?\])(?!\n)$")
]
"""A name in known_hosts, which need not be that of a host: any text, such as `web:prod`, or an IPv6 address."""
User = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(?!\n)$")]
Port = Annotated[int, Meta(ge=1, le=65535)]
Folder = Annotated[str, Meta(pattern=r"^/[A-Za-z0-9._/-]{1,200}(?!\n)$")]
NodeKey = Annotated[str, Meta(pattern=r"^nodekey:[0-9a-f]{64}(?!\n)$")]
Tag = Annotated[str, Meta(pattern=r"^tag:[A-Za-z][A-Za-z0-9-]{0,62}(?!\n)$")]
Line = Annotated[str, Meta(pattern=r"^[^\n\r\x00]{1,8000}(?!\n)$")]


Pattern = Annotated[str, Meta(pattern=r"^[a-z*][a-z0-9_*]{0,63}(?!\n)$")]
NEED_ROOT = (
    "service_start",
    "service_stop",
    "service_restart",
    "package_install",
    "package_remove",
    "package_update",
    "backup_*",
    "snapshot_*",
)
"""Operations that only root can do on a usual host. File operations are not among them: that depends on the roots."""
_OF_LISTINGS = {"list_backups": "backup_list", "list_snapshots": "snapshot_list", "list_file_roots": "file_read"}


class Become(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The way in which the user of a target becomes root, and the operations that do (`*`: any characters). All others
    stay with the user.
    """

    method: Literal["sudo"] = "sudo"
    operations: Annotated[tuple[Pattern, ...], Meta(min_length=1, max_length=64)] = NEED_ROOT


class JumpHost(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A host through which the connection to a target goes."""

    host: ZonedHost
    user: User
    port: Port = 22

    def __post_init__(self) -> None:
        force_setattr(self, "host", bare_host(self.host))


Way = tuple[tuple[str, int], ...]
"""The hosts and ports of the jump hosts, in order, and of the host they lead to. Behind two jump hosts, one address
may be two machines.
"""


class SshConnection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `connection` of a target.

    `host_keys`: "ssh-ed25519 AAAA…" or "@cert-authority ssh-ed25519 AAAA…", in place of the known_hosts file for this
    target. `jump`: jump hosts, in order. `connect_timeout`: seconds for the login, and again for the start of hostops.
    `connect_retries`: further attempts at a host out of reach, for reads; else as many as the time before a claim
    allows, and none after it.
    `folder`: Writ's own folder on the host. `become: sudo`: the operations that need root run as root. `via:
    tailscale`: the peer must have this node key and all of these tags; at least one of the two is pinned.
    """

    host: ZonedHost
    user: User
    port: Port = 22
    host_keys: list[Line] = []
    host_key_alias: KeyName | None = None
    jump: list[JumpHost] = []
    kex: list[str] | None = None
    ciphers: list[str] | None = None
    macs: list[str] | None = None
    connect_timeout: Annotated[float, Meta(gt=0, le=120)] = 10.0
    connect_retries: Retries | None = None
    keepalive: Annotated[float, Meta(gt=0, le=600)] = 15.0
    folder: Folder | None = None
    become: Literal["sudo"] | Become | None = None
    via: Literal["tailscale"] | None = None
    tailscale_node_key: NodeKey | None = None
    tailscale_tags: list[Tag] = []

    def __post_init__(self) -> None:
        force_setattr(self, "host", bare_host(self.host))
        if self.host_key_alias and self.host_key_alias.startswith("["):
            force_setattr(self, "host_key_alias", bare_host(self.host_key_alias))
        pinned = bool(self.tailscale_node_key or self.tailscale_tags)
        if self.via is None and pinned:
            raise ValueError("tailscale_node_key and tailscale_tags need via: tailscale")
        if self.via is not None and not pinned:
            raise ValueError("via: tailscale needs tailscale_node_key, tailscale_tags or both")
        if self.via is not None and self.jump:
            raise ValueError("via: tailscale and jump exclude each other: a peer is reached without hosts on the way")

    @property
    def way(self) -> Way:
        """Return the way to the host."""
        return (*((one.host, one.port) for one in self.jump), (self.host, self.port))

    def needs_root(self, operation: str) -> bool:
        """Return whether the user becomes root for an operation or listing."""
        if self.become is None or self.user == "root":
            return False
        patterns = NEED_ROOT if self.become == "sudo" else self.become.operations
        return any(fnmatchcase(_OF_LISTINGS.get(operation, operation), pattern) for pattern in patterns)


def connection_of(target: Target) -> SshConnection:
    """Return the connection of a target. Raises Invalid (`invalid_connection`)."""
    return typed_connection(target, SshConnection)
