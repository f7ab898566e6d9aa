"""backup_create: one restic snapshot, tagged with a new id. The repository, read afterwards, decides the outcome."""

from __future__ import annotations

import os
import stat
from typing import Any, Dict, List, Optional

from writ_hostops.backups.arguments import BackupArguments, parse_arguments
from writ_hostops.backups.restic import INCOMPLETE, Restic, StoredBackup, printed, progress_reporter, summary
from writ_hostops.commands import ProgramResult
from writ_hostops.errors import HostError
from writ_hostops.files.trees import Tree, opened_tree
from writ_hostops.protocol import HostReply, OperationCall, verdict
from writ_hostops.stop import CancelToken, afterwards


def run(call: OperationCall) -> HostReply:
    """Create the backup. A file that cannot be read makes the result `incomplete`: the backup exists, and the log lists
    the missing files.
    """
    arguments, restic = parse_arguments(call), Restic(call)
    _refuse_taken(restic, arguments, call.stop)
    with opened_tree(call.target, arguments.path) as tree:
        ran = restic.run(
            _words(restic, arguments, tree, call.public_id), tree.folder, progress_reporter(call, "backing up")
        )
    backup = _find_backup(restic, call.public_id)
    output = _output(arguments, backup, ran)
    effect = "done" if backup else "none"
    ran.refuse_stopped("the backup", effect)
    if ran.status == INCOMPLETE and backup:
        message = "the backup was made, but some files could not be read; `log` names them"
        raise HostError("incomplete", message, effect="done", output=output, state=_state(backup))
    restic.refuse(ran, effect)
    if backup is None:
        raise HostError(
            "tool_failed", "restic ended without an error, but the backup is not in the repository", output=output
        )
    return HostReply(output=output, state=_state(backup), effect="done")


def preview(call: OperationCall) -> HostReply:
    """Return the files that restic would add now, by its own dry run, which writes nothing to the repository."""
    arguments, restic = parse_arguments(call), Restic(call)
    _refuse_taken(restic, arguments, call.stop)
    with opened_tree(call.target, arguments.path) as tree:
        words = _words(restic, arguments, tree, call.public_id)
        ran = restic.run([words[0], "--dry-run", *words[1:]], tree.folder)
    ran.refuse_stopped("the dry run")
    if ran.status != INCOMPLETE:
        restic.refuse(ran, "none")
    summarised = summary(ran)
    files = summarised.get("total_files_processed", "?")
    would = (  # restic adds trees, too: more bytes than the files have
        f"back up {arguments.path}: {files} {'file' if files == 1 else 'files'}, "
        f"{summarised.get('total_bytes_processed', '?')} bytes; "
        f"the repository grows by {summarised.get('data_added', '?')} bytes before compression"
    )
    missing = "; some files cannot be read" if ran.status == INCOMPLETE else ""
    output = {"backup_id": arguments.backup_id, "would": would + missing, "commands": [restic.shown(words, tree.where)]}
    return HostReply(output=output)


def probe(call: OperationCall) -> HostReply:
    """Report success if the repository has the backup of this very operation."""
    arguments, restic = parse_arguments(call), Restic(call)
    there = restic.of(arguments.backup_id, call.stop)
    backup = [one for one in there if one.operation_id == call.public_id]
    if backup:
        return verdict("succeeded", "the repository has the backup of this operation", _state(backup[0]))
    if there:
        return verdict("not_done", "the repository has a backup with this id, made by another operation", {})
    return verdict("not_done", "the repository has no backup with this id", {})


def _words(restic: Restic, arguments: BackupArguments, tree: Tree, operation_id: str) -> List[str]:
    """Return restic's arguments, without exclusions of any kind."""
    tags = ["writ", f"writ-id={arguments.backup_id}", f"writ-op={operation_id}", *_of_folder(tree)]
    force = ["--force"] if arguments.full else []
    return ["backup", *force, f"--host={restic.host}", *(f"--tag={tag}" for tag in tags), "--", tree.entry]


def _of_folder(tree: Tree) -> List[str]:
    """Return the tags of the tree: a file, or a folder with its mode, which restic does not keep itself."""
    if tree.name:
        return ["writ-kind=file"]
    status = os.fstat(tree.folder)
    return ["writ-kind=folder", f"writ-mode={stat.S_IMODE(status.st_mode):04o}"]


def _refuse_taken(restic: Restic, arguments: BackupArguments, stop: CancelToken) -> None:
    if restic.of(arguments.backup_id, stop):
        raise HostError("exists", f"there is a backup {arguments.backup_id} already")


def _find_backup(restic: Restic, operation_id: str) -> Optional[StoredBackup]:
    with afterwards() as patience:
        backups = restic.kept(patience)
    return next((one for one in backups if one.operation_id == operation_id), None)


def _output(arguments: BackupArguments, backup: Optional[StoredBackup], ran: ProgramResult) -> Dict[str, Any]:
    summarised = summary(ran)
    return {
        "backup_id": arguments.backup_id,
        "reference": backup.reference if backup else "",
        "size": summarised.get("total_bytes_processed"),
        "files": summarised.get("total_files_processed"),
        "created_at": backup.created_at if backup else None,
        "log": printed(ran),
    }


def _state(backup: StoredBackup) -> Dict[str, Any]:
    return {"backup_id": backup.backup_id, "reference": backup.reference}
