"""backup_restore: puts a backup back over a folder or file, and has restic read all of it again to compare.

Files that came since stay; files of the backup's names are replaced. It is never done twice. One that was cut off is
found to be done where restic, which reads all files to compare, would write none any more; else nobody can tell.
"""

from __future__ import annotations

import os
import stat
from typing import Any, ContextManager, Dict, List

from writ_hostops.backups.arguments import Wish, wish
from writ_hostops.backups.restic import Kept, Restic, item, said, summary, teller
from writ_hostops.errors import HostError
from writ_hostops.files.trees import Tree, opened_around, opened_tree
from writ_hostops.protocol import Answer, Call, verdict

_MODE = 0o700


def run(call: Call) -> Answer:
    """Restore. One that restic ended with errors is `incomplete`; what it could not put back is in `log`."""
    wanted, restic = wish(call), Restic(call)
    kept = _the_one(restic, wanted, call)
    with _destination(call, wanted, kept, make=True) as tree:
        ran = restic.run(_words(kept), tree.folder, teller(call, "restoring"))
    seen = summary(ran)
    output = {**_ids(kept), "files": seen.get("files_restored", 0), "log": said(ran)}
    ran.refuse_stopped("the restore", "maybe")
    if ran.status and seen:
        message = f"restic put back {output['files']} of {seen.get('total_files', '?')} files and folders, and not all"
        raise HostError("incomplete", message, effect="done", output=output, state=_ids(kept))
    if ran.status:
        message = f"restic failed (exit status {ran.status}); how much was put back is not known"
        raise HostError("tool_failed", message, effect="maybe", output=output)
    return Answer(output=output, state=_ids(kept), effect="done")


def preview(call: Call) -> Answer:
    """What restic would write now, by its own dry run."""
    wanted, restic = wish(call), Restic(call)
    kept = _the_one(restic, wanted, call)
    where = os.path.dirname(wanted.path) if kept.tags.get("writ-kind") == "file" else wanted.path
    output: Dict[str, Any] = {**_ids(kept), "commands": [restic.shown(_words(kept), where)]}
    try:
        with _destination(call, wanted, kept, make=False) as tree:
            ran = restic.run(_words(kept, "--dry-run", "--no-lock"), tree.folder)
    except HostError as error:
        if error.code != "not_found":
            raise
        return Answer(output={**output, "would": f"make {wanted.path} and restore all of it"})
    ran.refuse_stopped("the dry run")
    restic.refuse(ran, "none")
    seen = summary(ran)
    written, of = seen.get("files_restored", "?"), seen.get("total_files", "?")
    would = f"write {written} of {of} files and folders, {seen.get('bytes_restored', 0)} bytes"
    return Answer(output={**output, "would": would})


def probe(call: Call) -> Answer:
    """Whether all files are as in the backup, by a dry run that compares their content."""
    wanted, restic = wish(call), Restic(call)
    kept = _the_one(restic, wanted, call)
    state, lacking = _ids(kept), [0, 0]

    with _destination(call, wanted, kept, make=False) as tree:

        def hear(line: str) -> None:
            action, path, size = item(line)
            lacking[0] += bool(action)
            lacking[1] += action not in ("", "unchanged") and (size > 0 or not _is_there(tree, path))

        ran = restic.run(_words(kept, "--dry-run", "--no-lock", "-vv"), tree.folder, hear)
    ran.refuse_stopped("the dry run")
    restic.refuse(ran, "none")
    if not lacking[0] or lacking[1]:
        return verdict("unknown", f"{lacking[1]} of {lacking[0]} files and folders are not as in the backup", state)
    return verdict("succeeded", "all files have the content of the backup", state)


def _is_there(tree: Tree, path: str) -> bool:
    """A folder or link, which restic has nothing to compare of; an empty file that it would write is not."""
    try:
        mode = os.stat(path.lstrip("/"), dir_fd=tree.folder, follow_symlinks=False).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode)


def _destination(call: Call, wanted: Wish, kept: Kept, make: bool) -> ContextManager[Tree]:
    """The folder, made anew with its old mode if it is gone; for one file the folder around it."""
    if kept.tags.get("writ-kind") == "file":
        if wanted.path.rpartition("/")[2] != os.path.basename(kept.path):
            raise HostError("invalid_parameter", "this backup is of one file, and goes back under its name only")
        return opened_around(call.target, wanted.path, "target_path")
    mode = kept.tags.get("writ-mode", "")
    octal = len(mode) == 4 and not set(mode) - set("01234567")
    return opened_tree(call.target, wanted.path, "target_path", (int(mode, 8) if octal else _MODE) if make else None)


def _the_one(restic: Restic, wanted: Wish, call: Call) -> Kept:
    found = restic.of(wanted.backup_id, call.stop)
    if not found:
        raise HostError("not_found", f"there is no backup {wanted.backup_id}")
    if len(found) > 1:
        raise HostError("exists", f"there are {len(found)} backups {wanted.backup_id}; delete them")
    return found[0]


def _words(kept: Kept, *more: str) -> List[str]:
    return ["restore", *(more or ["--verify"]), "--target=.", "--", kept.reference]


def _ids(kept: Kept) -> Dict[str, Any]:
    return {"backup_id": kept.backup_id, "reference": kept.reference}
