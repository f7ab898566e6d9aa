"""Operations on snapshots: of a path (btrfs, zfs) or of a container or guest."""

from typing import Annotated

from msgspec import Meta, Struct, field

from writ_contracts.backends import EVERY
from writ_contracts.catalogue.grammar import ContainerName, FolderPath, SnapshotName, check_exactly_one
from writ_contracts.operations import Operation, Risk
from writ_contracts.parameters import PUBLIC, Output, Parameters, Timeout

Description = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]*(?!\n)$", max_length=1000)]


class SnapshotCreate(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The path or container to snapshot, and the name of the snapshot."""

    snapshot_name: Annotated[SnapshotName, PUBLIC]
    container_name: Annotated[ContainerName | None, PUBLIC] = None
    target_path: Annotated[FolderPath | None, PUBLIC] = None
    description: Annotated[Description, PUBLIC] = ""
    timeout: Annotated[Timeout, Meta(le=900)] = 120

    def __post_init__(self) -> None:
        check_exactly_one(container_name=self.container_name, target_path=self.target_path)


class SnapshotList(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The path or container whose snapshots are listed."""

    container_name: Annotated[ContainerName | None, PUBLIC] = None
    target_path: Annotated[FolderPath | None, PUBLIC] = None
    timeout: Annotated[Timeout, Meta(le=60)] = 30

    def __post_init__(self) -> None:
        check_exactly_one(container_name=self.container_name, target_path=self.target_path)


class SnapshotRestore(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The snapshot, and its path or container; all later changes are lost."""

    snapshot_name: Annotated[SnapshotName, PUBLIC]
    container_name: Annotated[ContainerName | None, PUBLIC] = None
    target_path: Annotated[FolderPath | None, PUBLIC] = None
    timeout: Annotated[Timeout, Meta(le=1800)] = 180

    def __post_init__(self) -> None:
        check_exactly_one(container_name=self.container_name, target_path=self.target_path)


class SnapshotDelete(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The snapshot, and its path or container."""

    snapshot_name: Annotated[SnapshotName, PUBLIC]
    container_name: Annotated[ContainerName | None, PUBLIC] = None
    target_path: Annotated[FolderPath | None, PUBLIC] = None
    timeout: Annotated[Timeout, Meta(le=900)] = 60

    def __post_init__(self) -> None:
        check_exactly_one(container_name=self.container_name, target_path=self.target_path)


class SnapshotEntry(Struct, frozen=True, kw_only=True):
    """One snapshot. Times are Unix seconds."""

    snapshot_name: str
    created_at: float | None = None
    description: str = ""
    size: int | None = None


class SnapshotState(Output, frozen=True, kw_only=True):
    """The created or restored snapshot. `would`, `commands`: the actions found by a dry run."""

    snapshot_name: Annotated[str, PUBLIC] = ""
    reference: Annotated[str, PUBLIC] = ""
    created_at: Annotated[float | None, PUBLIC] = None
    would: Annotated[str, PUBLIC] = ""
    commands: Annotated[list[str], PUBLIC] = field(default_factory=list)
    log: str = ""


class SnapshotListing(Output, frozen=True, kw_only=True):
    """The snapshots, newest first."""

    snapshots: Annotated[list[SnapshotEntry], PUBLIC] = field(default_factory=list)
    truncated: Annotated[bool, PUBLIC] = False


class SnapshotGone(Output, frozen=True, kw_only=True):
    """The deleted snapshot. `would`, `commands`: the actions found by a dry run."""

    snapshot_name: Annotated[str, PUBLIC] = ""
    removed: Annotated[bool, PUBLIC] = False
    would: Annotated[str, PUBLIC] = ""
    commands: Annotated[list[str], PUBLIC] = field(default_factory=list)


OPERATIONS = (
    Operation(
        name="snapshot_create",
        summary="Take a snapshot of a path, container or guest.",
        parameters=SnapshotCreate,
        output=SnapshotState,
        risk=Risk.CHANGE,
        backends=EVERY,
        probe=True,
        preview=True,
    ),
    Operation(
        name="snapshot_list",
        summary="List the snapshots of a path, container or guest.",
        parameters=SnapshotList,
        output=SnapshotListing,
        risk=Risk.READ,
        backends=EVERY,
        idempotent=True,
    ),
    Operation(
        name="snapshot_restore",
        summary="Restore a snapshot; later changes are lost.",
        parameters=SnapshotRestore,
        output=SnapshotState,
        risk=Risk.ADMIN,
        backends=EVERY,
        baseline=True,
        probe=True,
        preview=True,
    ),
    Operation(
        name="snapshot_delete",
        summary="Delete a snapshot.",
        parameters=SnapshotDelete,
        output=SnapshotGone,
        risk=Risk.ADMIN,
        backends=EVERY,
        idempotent=True,
        probe=True,
        preview=True,
    ),
)
