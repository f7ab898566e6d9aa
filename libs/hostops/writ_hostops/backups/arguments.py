"""Arguments of the backup operations: an exact id, and a folder or file of this host."""

from __future__ import annotations

import re
from dataclasses import dataclass

from writ_hostops.errors import HostError
from writ_hostops.fields import Fields
from writ_hostops.protocol import OperationCall

MAX_ID = 128
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class BackupArguments:
    """Arguments of a backup operation. `path` is "" for operations without one."""

    backup_id: str
    path: str = ""
    full: bool = False
    special_modes: bool = False
    folder_owner_only: bool = False


def parse_arguments(call: OperationCall) -> BackupArguments:
    """Parse the parameters of backup_create, backup_restore and backup_delete."""
    fields = Fields(dict(call.parameters), "parameters")
    backup_id = fields.text("backup_id")
    if len(backup_id) > MAX_ID or not _ID.fullmatch(backup_id):
        raise fields.wrong("backup_id", "must be letters, digits, '_', '.' and '-', at most 128")
    full = call.operation == "backup_create" and (
        fields.choice("backup_type", ("full", "incremental"), "incremental") == "full"
    )
    restores = call.operation == "backup_restore"
    special_modes = restores and fields.flag("special_modes", False)
    folder_owner_only = restores and fields.choice("owners", ("any", "folder"), "any") == "folder"
    if call.operation == "backup_create":
        fields.choice("quiesce", ("pause", "stop", "none"), "pause")  # of containers alone
    path = path_from(fields, "" if call.operation == "backup_delete" else None)
    fields.end()
    return BackupArguments(backup_id, path, full, special_modes, folder_owner_only)


def path_from(fields: Fields, default: "str | None" = None) -> str:
    """Take `target_path`. Paths in containers come with the backend that has containers."""
    if fields.text("container_name", ""):
        raise HostError("unsupported", "containers are backed up by the backend that runs them, not by this host")
    return fields.text("target_path", default)
