"""Operations on backups."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from writ_contracts.backends import EVERY
from writ_contracts.catalogue.grammar import BackupId, ContainerName, Flag, FolderPath, check_exactly_one
from writ_contracts.operations import Operation, Risk
from writ_contracts.parameters import PUBLIC, Output, Parameters, Timeout


class BackupCreate(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The path or container to back up, and the id of the backup."""

    backup_id: Annotated[BackupId, PUBLIC]
    target_path: Annotated[FolderPath | None, PUBLIC] = None
    container_name: Annotated[ContainerName | None, PUBLIC] = None
    backup_type: Annotated[Literal["full", "incremental"], PUBLIC] = "incremental"
    quiesce: Annotated[Literal["pause", "stop", "none"], PUBLIC] = "pause"
    """Of a container that runs: what it does meanwhile."""
    timeout: Annotated[Timeout, Meta(le=21_600)] = 1800

    def __post_init__(self) -> None:
        check_exactly_one(target_path=self.target_path, container_name=self.container_name)


class BackupList(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A filter: all backups, or those of one path or container; newest first."""

    target_path: Annotated[FolderPath | None, PUBLIC] = None
    container_name: Annotated[ContainerName | None, PUBLIC] = None
    limit: Annotated[int, Meta(ge=1, le=1000), PUBLIC] = 100
    timeout: Annotated[Timeout, Meta(le=300)] = 60

    def __post_init__(self) -> None:
        if self.target_path is not None and self.container_name is not None:
            raise ValueError("give at most one of target_path, container_name")


class BackupRestore(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The backup, and the path or container it overwrites."""

    backup_id: Annotated[BackupId, PUBLIC]
    target_path: Annotated[FolderPath | None, PUBLIC] = None
    container_name: Annotated[ContainerName | None, PUBLIC] = None
    owners: Annotated[Literal["any", "folder"], PUBLIC] = "any"
    """`folder`: restore only files of the owner of the destination folder."""
    special_modes: Flag = False
    """Restore setuid, setgid and sticky bits, file capabilities and devices as well."""
    timeout: Annotated[Timeout, Meta(le=43_200)] = 3600

    def __post_init__(self) -> None:
        check_exactly_one(target_path=self.target_path, container_name=self.container_name)


class BackupDelete(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole id of the backup, never a prefix. `container_name`: it is one of this container."""

    backup_id: Annotated[BackupId, PUBLIC]
    container_name: Annotated[ContainerName | None, PUBLIC] = None
    timeout: Annotated[Timeout, Meta(le=3600)] = 300


class BackupEntry(Struct, frozen=True, kw_only=True):
    """One backup. Times are Unix seconds."""

    backup_id: str
    created_at: float | None = None
    target_path: str = ""
    container_name: str = ""
    size: int | None = None
    reference: str = ""
    """The backup program's own id."""


class BackupState(Output, frozen=True, kw_only=True):
    """The created backup. `would`, `commands`: the actions found by a dry run."""

    backup_id: Annotated[str, PUBLIC] = ""
    reference: Annotated[str, PUBLIC] = ""
    size: Annotated[int | None, PUBLIC] = None
    files: Annotated[int | None, PUBLIC] = None
    created_at: Annotated[float | None, PUBLIC] = None
    would: Annotated[str, PUBLIC] = ""
    commands: Annotated[list[str], PUBLIC] = field(default_factory=list)
    log: str = ""


class BackupListing(Output, frozen=True, kw_only=True):
    """The backups, newest first."""

    backups: Annotated[list[BackupEntry], PUBLIC] = field(default_factory=list)
    truncated: Annotated[bool, PUBLIC] = False


class RestoredBackup(Output, frozen=True, kw_only=True):
    """The restored backup. `would`, `commands`: the actions found by a dry run."""

    backup_id: Annotated[str, PUBLIC] = ""
    reference: Annotated[str, PUBLIC] = ""
    files: Annotated[int | None, PUBLIC] = None
    would: Annotated[str, PUBLIC] = ""
    commands: Annotated[list[str], PUBLIC] = field(default_factory=list)
    log: str = ""


class DeletedBackup(Output, frozen=True, kw_only=True):
    """The deleted backup. `would`, `commands`: the actions found by a dry run."""

    backup_id: Annotated[str, PUBLIC] = ""
    reference: Annotated[str, PUBLIC] = ""
    removed: Annotated[bool, PUBLIC] = False
    would: Annotated[str, PUBLIC] = ""
    commands: Annotated[list[str], PUBLIC] = field(default_factory=list)


OPERATIONS = (
    Operation(
        name="backup_create",
        summary="Back up a path or a container.",
        parameters=BackupCreate,
        output=BackupState,
        risk=Risk.CHANGE,
        backends=EVERY,
        declared="backup",
        probe=True,
        preview=True,
    ),
    Operation(
        name="backup_list",
        summary="List the backups.",
        parameters=BackupList,
        output=BackupListing,
        risk=Risk.READ,
        backends=EVERY,
        declared="backup",
        idempotent=True,
    ),
    Operation(
        name="backup_restore",
        summary="Restore a backup over the present files or data.",
        parameters=BackupRestore,
        output=RestoredBackup,
        risk=Risk.ADMIN,
        backends=EVERY,
        declared="backup",
        probe=True,
        preview=True,
    ),
    Operation(
        name="backup_delete",
        summary="Delete a backup.",
        parameters=BackupDelete,
        output=DeletedBackup,
        risk=Risk.ADMIN,
        backends=EVERY,
        declared="backup",
        idempotent=True,
        probe=True,
        preview=True,
    ),
)
