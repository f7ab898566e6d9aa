"""backup_restore: put a backup back over a folder or file, through a private folder inside it (staging.py).

restic reads all restored files again to compare them. Nothing is moved into place before that, so an earlier end
changes nothing. Newer files stay; files with names of the backup are replaced.

A restore never runs twice. An interrupted one counts as done if restic, which compares all files, would write none of
them again; else its outcome is unknown.
"""

from __future__ import annotations

import os
import shlex
import stat
from typing import Any, ContextManager, Dict, List

from writ_hostops import commands
from writ_hostops.backups.arguments import BackupArguments, parse_arguments
from writ_hostops.backups.restic import (
    Restic,
    StoredBackup,
    could_not_lock,
    item,
    printed,
    progress_reporter,
    spoiled,
    summary,
)
from writ_hostops.backups.staging import TREE, AllowedKinds, drop_spoiled, move_in, staging_folder, staging_name
from writ_hostops.commands import ProgramResult
from writ_hostops.errors import HostError, system_errors
from writ_hostops.files.trees import Tree, opened_around, opened_tree
from writ_hostops.protocol import HostReply, OperationCall, verdict

_MODE = 0o700


def run(call: OperationCall) -> HostReply:
    """Restore the backup. Errors of restic make the result `incomplete`; `log` lists the files that could not be put
    back.
    """
    arguments, restic = parse_arguments(call), Restic(call)
    kept = _the_one(restic, arguments, call)
    with _destination(call, arguments, kept, make=True) as tree:
        _refuse_without_room(tree, kept)
        with staging_folder(tree) as staging:
            ran = _restored(call, restic, kept, staging)
            ran.refuse_stopped("the restore")
            summarised = summary(ran)
            if ran.status and not summarised:
                restic.refuse(ran, "none")
            drop_spoiled(staging, spoiled(ran))
            call.progress("moving the files into place")
            problems = move_in(staging, tree, _kinds(arguments, tree), call.stop)
    log = "\n".join([printed(ran), *problems])[-commands.MOST_LOG :].strip()
    output = {**_ids(kept), "files": summarised.get("files_restored", 0), "log": log}
    if ran.status or problems:
        message = f"restic restored {output['files']} of {summarised.get('total_files', '?')} files and folders"
        left = f"{message}; {len(problems)} of them could not be moved into place" if problems else message
        raise HostError(
            "incomplete", f"{left}; `log` names what is missing", effect="done", output=output, state=_ids(kept)
        )
    return HostReply(output=output, state=_ids(kept), effect="done")


def _restored(call: OperationCall, restic: Restic, kept: StoredBackup, staging: int) -> ProgramResult:
    """Have restic write the files. Without room for its lock in the repository, it only reads there: the files that a
    simultaneous prune takes from it are then errors, as all that it cannot read.
    """
    report = progress_reporter(call, "restoring")
    ran = restic.run(_words(kept, _staged(staging), "--verify"), staging, report)
    if could_not_lock(ran) and not ran.stopped:
        call.progress("restic cannot write a lock into the repository: restoring without one")
        ran = restic.run(_words(kept, _staged(staging), "--verify", "--no-lock"), staging, report)
    return ran


def preview(call: OperationCall) -> HostReply:
    """Return the files that restic would write now, by its own dry run."""
    arguments, restic = parse_arguments(call), Restic(call)
    kept = _the_one(restic, arguments, call)
    where = os.path.dirname(arguments.path) if kept.tags.get("writ-kind") == "file" else arguments.path
    output: Dict[str, Any] = {**_ids(kept), "commands": [_shown(restic, kept, where)]}
    try:
        with _destination(call, arguments, kept, make=False) as tree:
            ran = restic.run(_words(kept, ".", "--dry-run", "--no-lock"), tree.folder)
    except HostError as error:
        if error.code != "not_found":
            raise
        return HostReply(output={**output, "would": f"make {arguments.path} and restore all of it"})
    ran.refuse_stopped("the dry run")
    restic.refuse(ran, "none")
    summarised = summary(ran)
    written, of = summarised.get("files_restored", "?"), summarised.get("total_files", "?")
    would = f"write {written} of {of} files and folders, {summarised.get('bytes_restored', 0)} bytes"
    return HostReply(output={**output, "would": would})


def probe(call: OperationCall) -> HostReply:
    """Report success if all files equal those of the backup, by a dry run that compares their content."""
    arguments, restic = parse_arguments(call), Restic(call)
    kept = _the_one(restic, arguments, call)
    state, lacking = _ids(kept), [0, 0]

    with _destination(call, arguments, kept, make=False) as tree:

        def hear(line: str) -> None:
            action, path, size = item(line)
            lacking[0] += bool(action)
            lacking[1] += action not in ("", "unchanged") and (size > 0 or not _is_there(tree, path))

        ran = restic.run(_words(kept, ".", "--dry-run", "--no-lock", "-vv"), tree.folder, hear)
    ran.refuse_stopped("the dry run")
    restic.refuse(ran, "none")
    if not lacking[0] or lacking[1]:
        return verdict("unknown", f"{lacking[1]} of {lacking[0]} files and folders are not as in the backup", state)
    return verdict("succeeded", "all files have the content of the backup", state)


def _is_there(tree: Tree, path: str) -> bool:
    """Return True for an existing folder or link, of which restic compares nothing, and False for an empty file that
    restic would write.
    """
    try:
        mode = os.stat(path.lstrip("/"), dir_fd=tree.folder, follow_symlinks=False).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode)


def _destination(
    call: OperationCall, arguments: BackupArguments, kept: StoredBackup, make: bool
) -> ContextManager[Tree]:
    """Open the destination: the folder, created with its old mode if it is gone, or for one file the folder around
    it.
    """
    if kept.tags.get("writ-kind") == "file":
        if arguments.path.rpartition("/")[2] != os.path.basename(kept.path):
            raise HostError("invalid_parameter", "this backup is of one file, and goes back under its name only")
        return opened_around(call.target, arguments.path)
    return opened_tree(call.target, arguments.path, _mode(arguments, kept) if make else None)


def _mode(arguments: BackupArguments, kept: StoredBackup) -> int:
    """Return the mode for a folder that must be created again."""
    mode = kept.tags.get("writ-mode", "")
    octal = len(mode) == 4 and not set(mode) - set("01234567")
    return (int(mode, 8) if octal else _MODE) & (0o7777 if arguments.special_modes else 0o777)


def _the_one(restic: Restic, arguments: BackupArguments, call: OperationCall) -> StoredBackup:
    backups = restic.of(arguments.backup_id, call.stop)
    if not backups:
        raise HostError("not_found", f"there is no backup {arguments.backup_id}")
    if len(backups) > 1:
        raise HostError("exists", f"there are {len(backups)} backups {arguments.backup_id}; delete them")
    return backups[0]


def _words(kept: StoredBackup, target: str, *more: str) -> List[str]:
    return ["restore", *more, f"--target={target}", "--", kept.reference]


def _staged(staging: int) -> str:
    """Return the path of the staged tree for restic: by its descriptor, so no rename of the folder redirects
    restic.
    """
    return f"/proc/self/fd/{staging}/{TREE}"


def _shown(restic: Restic, kept: StoredBackup, where: str) -> str:
    """Return the commands for people, in one line. They copy into place; the operation itself renames."""
    name = staging_name()
    restored = restic.shown(_words(kept, f"{name}/{TREE}", "--verify"))
    moved = f"cp -a --remove-destination {name}/{TREE}/. . && rm -r {name}"
    return f"cd {shlex.quote(where)} && mkdir -m 0700 {name} && {restored} && {moved}"


def _kinds(arguments: BackupArguments, tree: Tree) -> AllowedKinds:
    owner = os.fstat(tree.folder).st_uid if arguments.folder_owner_only else None
    return AllowedKinds(special_modes=arguments.special_modes, owner=owner)


def _refuse_without_room(tree: Tree, kept: StoredBackup) -> None:
    """Refuse early: the disk holds the backup's content twice until the move."""
    with system_errors(tree.where):
        room = os.fstatvfs(tree.folder)
    if kept.size is not None and kept.size > room.f_bavail * room.f_frsize:
        raise HostError(
            "no_space", f"{tree.where}: the file system has no room for the {kept.size} bytes of this backup"
        )


def _ids(kept: StoredBackup) -> Dict[str, Any]:
    return {"backup_id": kept.backup_id, "reference": kept.reference}
