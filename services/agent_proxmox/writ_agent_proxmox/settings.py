"""`connection` and `backup` of a Proxmox target in the inventory, typed; an unknown field is refused.

A target is the part of a cluster selected by `node`, `pool` and `tag`: guests outside of it are not found.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from writ_agent.backends.connection_entry import typed_connection
from writ_agent.backends.connection_retries import Retries
from writ_contracts.errors import Invalid
from writ_contracts.host_addresses import Host, bare_host, host_and_port
from writ_contracts.inventory import Target

Port = Annotated[int, Meta(ge=1, le=65535)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}(?!\n)$")]
Fingerprint = Annotated[str, Meta(pattern=r"^[0-9A-F]{2}(?::[0-9A-F]{2}){31}(?!\n)$")]
Pem = Annotated[str, Meta(pattern=r"^-----BEGIN CERTIFICATE-----", max_length=65_536)]
Storage = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,62}(?!\n)$")]


class ProxmoxConnection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`fingerprint`: the certificate's SHA-256, as Proxmox shows it. `ca`: certificates to trust instead, in PEM.
    Without either the authorities of the agent's own host count. `storage` and `bridge` are for guests created by
    `container_create`, which names neither. `connect_retries`: further attempts at a node out of reach, for reads.
    """

    host: Host
    port: Port = 8006
    fingerprint: Fingerprint | None = None
    ca: Pem | None = None
    node: Name | None = None
    pool: Name | None = None
    tag: Name | None = None
    storage: Storage | None = None
    bridge: Name | None = None
    connect_timeout: Annotated[float, Meta(gt=0, le=60)] = 5.0
    connect_retries: Retries = 0

    def __post_init__(self) -> None:
        force_setattr(self, "host", bare_host(self.host))
        if self.fingerprint and self.ca:
            raise ValueError("fingerprint and ca exclude each other")

    @property
    def where(self) -> str:
        """The address, for people."""
        return host_and_port(self.host, self.port)


class BackupStorage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The storage for vzdump, and its settings."""

    storage: Storage
    mode: Literal["snapshot", "suspend", "stop"] = "snapshot"
    compress: Literal["0", "gzip", "lzo", "zstd"] = "zstd"


def connection_of(target: Target) -> ProxmoxConnection:
    """Return the `connection` of a target, typed. Raises Invalid (`invalid_connection`)."""
    return typed_connection(target, ProxmoxConnection)


def backup_storage_of(target: Target) -> BackupStorage:
    """Return the `backup` of a target, typed. Raises Invalid (`no_backup_storage`)."""
    try:
        return msgspec.convert(target.backup, BackupStorage)
    except msgspec.ValidationError as error:
        raise Invalid(f"target {target.id}: backup: {error}", code="no_backup_storage") from error
