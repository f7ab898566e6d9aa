"""Operations on guests, nodes and storages of Proxmox VE, beside those on containers, snapshots and backups."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from writ_contracts.backends import PROXMOX
from writ_contracts.catalogue.containers import ContainerState, DeletedContainer
from writ_contracts.catalogue.grammar import ContainerName, Flag
from writ_contracts.operations import Operation, Risk
from writ_contracts.parameters import PUBLIC, Output, Parameters, Timeout

_END = r"(?!\n)$"
GuestName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*" + _END,
        max_length=63,
        description="a guest's name: a DNS name that no other guest has",
    ),
]
NodeName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?" + _END, max_length=63, description="a cluster node")
]
StorageName = Annotated[
    str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*[A-Za-z0-9]" + _END, max_length=63, description="a storage")
]
Bridge = Annotated[str, Meta(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*" + _END, max_length=15, description="a bridge")]
PoolName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*" + _END, max_length=63, description="a resource pool")
]
Tag = Annotated[str, Meta(pattern=r"^[a-z0-9_][a-z0-9_.+-]*" + _END, max_length=64, description="a tag, in lower case")]
Disk = Annotated[
    str, Meta(pattern=r"^(?:rootfs|(?:ide|sata|scsi|virtio|mp)[0-9]{1,3})" + _END, description="a disk, such as scsi0")
]
Template = Annotated[
    str,
    Meta(
        pattern=r"^(?:[A-Za-z][A-Za-z0-9_.-]*:vztmpl/)?[A-Za-z0-9][A-Za-z0-9_.+~-]*" + _END,
        max_length=255,
        description="a guest to clone, or storage:vztmpl/file of a container's template",
    ),
]
Upid = Annotated[
    str,
    Meta(
        pattern=r"^UPID:[A-Za-z0-9-]{1,63}:[0-9A-F]{8}:[0-9A-F]{8,9}:[0-9A-F]{8}:[^:\s/]{1,64}:[^:\s/]{0,128}:[^:\s/]{1,160}:"
        + _END,
        description="a task id as Proxmox writes it",
    ),
]


class GuestCreate(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The guest, its origin, and its size. `full`: clone all data instead of linking to the template."""

    guest_name: Annotated[GuestName, PUBLIC]
    template: Annotated[Template, PUBLIC]
    node: Annotated[NodeName | None, PUBLIC] = None
    storage: Annotated[StorageName | None, PUBLIC] = None
    cores: Annotated[Annotated[int, Meta(ge=1, le=1024)] | None, PUBLIC] = None
    memory: Annotated[Annotated[int, Meta(ge=16, le=16_777_216)] | None, Meta(description="MiB"), PUBLIC] = None
    disk: Annotated[
        Annotated[int, Meta(ge=1, le=131_072)] | None, Meta(description="GiB of a container's root disk"), PUBLIC
    ] = None
    bridge: Annotated[Bridge | None, PUBLIC] = None
    vlan: Annotated[Annotated[int, Meta(ge=1, le=4094)] | None, PUBLIC] = None
    tags: Annotated[list[Tag], Meta(max_length=16), PUBLIC] = field(default_factory=list)
    pool: Annotated[PoolName | None, PUBLIC] = None
    full: Flag = False
    start: Flag = False
    timeout: Annotated[Timeout, Meta(le=7200)] = 600


class GuestDelete(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which guest. `force` also deletes a running one; `purge` also removes it from backup, replication and HA jobs."""

    guest_name: Annotated[ContainerName, PUBLIC]
    force: Flag = False
    purge: Flag = False
    timeout: Annotated[Timeout, Meta(le=1800)] = 180


class GuestStop(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which guest. `force` turns it off where it does not shut down by itself in time."""

    guest_name: Annotated[ContainerName, PUBLIC]
    force: Flag = False
    timeout: Annotated[Timeout, Meta(le=1800)] = 120


class GuestList(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All guests of the target."""

    timeout: Annotated[Timeout, Meta(le=60)] = 30


class GuestMigrate(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which guest goes to which node. `online`: while it runs; a container is restarted for it."""

    guest_name: Annotated[ContainerName, PUBLIC]
    node: Annotated[NodeName, PUBLIC]
    online: Flag = False
    local_disks: Annotated[Flag, Meta(description="move disks on local storages too")] = False
    timeout: Annotated[Timeout, Meta(le=21_600)] = 1800


class GuestResize(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which disk of which guest grows to which size. Disks never shrink."""

    guest_name: Annotated[ContainerName, PUBLIC]
    disk: Annotated[Disk, PUBLIC]
    size: Annotated[int, Meta(ge=1, le=131_072, description="GiB, the whole size"), PUBLIC]
    timeout: Annotated[Timeout, Meta(le=900)] = 120


class NodeStatus(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The nodes of the cluster."""

    timeout: Annotated[Timeout, Meta(le=60)] = 30


class StorageStatus(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The storages of the cluster."""

    timeout: Annotated[Timeout, Meta(le=60)] = 30


class TaskLog(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    upid: Annotated[Upid, PUBLIC]
    lines: Annotated[int, Meta(ge=1, le=1000), PUBLIC] = 200
    timeout: Annotated[Timeout, Meta(le=60)] = 30


class GuestEntry(Struct, frozen=True, kw_only=True):
    """One guest. `status` may be 10 s old."""

    guest_name: str
    vmid: int
    kind: Literal["qemu", "lxc"]
    node: str
    status: str = ""
    template: bool = False
    pool: str = ""
    tags: list[str] = field(default_factory=list)


class GuestListing(Output, frozen=True, kw_only=True):
    """The guests, by vmid."""

    guests: Annotated[list[GuestEntry], PUBLIC] = field(default_factory=list)


class GuestLocation(Output, frozen=True, kw_only=True):
    """The guest and its node afterwards."""

    guest_name: Annotated[str, PUBLIC] = ""
    node: Annotated[str, PUBLIC] = ""
    log: str = ""


class GuestDisk(Output, frozen=True, kw_only=True):
    """The disk afterwards; `size` in GiB."""

    guest_name: Annotated[str, PUBLIC] = ""
    disk: Annotated[str, PUBLIC] = ""
    size: Annotated[float, PUBLIC] = 0.0


class NodeEntry(Struct, frozen=True, kw_only=True):
    """One node. Sizes in bytes; `cpu` from 0 to 1."""

    node: str
    online: bool = False
    cpu: float | None = None
    cores: int | None = None
    memory: int | None = None
    memory_used: int | None = None
    uptime: int | None = None


class NodeListing(Output, frozen=True, kw_only=True):
    """The nodes, and whether the cluster has a quorum."""

    quorate: Annotated[bool, PUBLIC] = True
    nodes: Annotated[list[NodeEntry], PUBLIC] = field(default_factory=list)


class StorageEntry(Struct, frozen=True, kw_only=True):
    """One storage on one node. Sizes in bytes."""

    storage: str
    node: str
    kind: str = ""
    content: str = ""
    active: bool = False
    shared: bool = False
    size: int | None = None
    used: int | None = None


class StorageListing(Output, frozen=True, kw_only=True):
    storages: Annotated[list[StorageEntry], PUBLIC] = field(default_factory=list)


class TaskLines(Output, frozen=True, kw_only=True):
    """The end of a task's log, which may quote anything."""

    status: Annotated[str, PUBLIC] = ""
    exit_status: Annotated[str, PUBLIC] = ""
    log: str = ""


OPERATIONS = (
    Operation(
        name="guest_create",
        summary="Create a guest from a template.",
        parameters=GuestCreate,
        output=ContainerState,
        risk=Risk.CHANGE,
        backends=(PROXMOX,),
        probe=True,
        preview=True,
    ),
    Operation(
        name="guest_delete",
        summary="Delete a guest with its disks.",
        parameters=GuestDelete,
        output=DeletedContainer,
        risk=Risk.ADMIN,
        backends=(PROXMOX,),
        baseline=True,
        probe=True,
        preview=True,
    ),
    Operation(
        name="guest_stop",
        summary="Shut a guest down, or turn it off; nothing happens if it does not run.",
        parameters=GuestStop,
        output=ContainerState,
        risk=Risk.CHANGE,
        backends=(PROXMOX,),
        idempotent=True,
        baseline=True,
        probe=True,
        preview=True,
    ),
    Operation(
        name="guest_list",
        summary="List the guests.",
        parameters=GuestList,
        output=GuestListing,
        risk=Risk.READ,
        backends=(PROXMOX,),
        idempotent=True,
    ),
    Operation(
        name="guest_migrate",
        summary="Move a guest to another node.",
        parameters=GuestMigrate,
        output=GuestLocation,
        risk=Risk.CHANGE,
        backends=(PROXMOX,),
        idempotent=True,
        baseline=True,
        probe=True,
        preview=True,
    ),
    Operation(
        name="guest_resize",
        summary="Enlarge a disk of a guest.",
        parameters=GuestResize,
        output=GuestDisk,
        risk=Risk.CHANGE,
        backends=(PROXMOX,),
        idempotent=True,
        probe=True,
        preview=True,
    ),
    Operation(
        name="node_status",
        summary="Show the nodes of a cluster.",
        parameters=NodeStatus,
        output=NodeListing,
        risk=Risk.READ,
        backends=(PROXMOX,),
        idempotent=True,
    ),
    Operation(
        name="storage_status",
        summary="Show the storages of a cluster.",
        parameters=StorageStatus,
        output=StorageListing,
        risk=Risk.READ,
        backends=(PROXMOX,),
        idempotent=True,
    ),
    Operation(
        name="task_log",
        summary="Show the log of a task of Proxmox.",
        parameters=TaskLog,
        output=TaskLines,
        risk=Risk.READ,
        backends=(PROXMOX,),
        idempotent=True,
    ),
)
