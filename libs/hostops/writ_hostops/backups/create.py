"""backup_create: one snapshot of restic's, tagged with an id that is new; judged by the repository afterwards."""

from __future__ import annotations

import os
import stat
from typing import Any, Dict, List, Optional

from writ_hostops.backups.arguments import Wish, wish
from writ_hostops.backups.restic import INCOMPLETE, Kept, Restic, said, summary, teller
from writ_hostops.commands import Ran
from writ_hostops.errors import HostError
from writ_hostops.files.trees import Tree, opened_tree
from writ_hostops.protocol import Answer, Call, verdict
from writ_hostops.stop import Stop, afterwards


def run(call: Call) -> Answer:
    """Back up. A file that could not be read makes it `incomplete`: the backup is there, and what it lacks is told."""
    wanted, restic = wish(call), Restic(call)
    _refuse_taken(restic, wanted, call.stop)
    with opened_tree(call.target, wanted.path, "target_path") as tree:
        ran = restic.run(_words(restic, wanted, tree, call.public_id), tree.folder, teller(call, "backing up"))
    made = _made(restic, call.public_id)
    output = _output(wanted, made, ran)
    effect = "done" if made else "none"
    ran.refuse_stopped("the backup", effect)
    if ran.status == INCOMPLETE and made:
        message = "the backup is there, but some files could not be read; `log` names them"
        raise HostError("incomplete", message, effect="done", output=output, state=_state(made))
    restic.refuse(ran, effect)
    if made is None:
        raise HostError("tool_failed", "restic ended well, but the backup is not in the repository", output=output)
    return Answer(output=output, state=_state(made), effect="done")


def preview(call: Call) -> Answer:
    """What restic would add now, by its own dry run; it writes nothing to the repository."""
    wanted, restic = wish(call), Restic(call)
    _refuse_taken(restic, wanted, call.stop)
    with opened_tree(call.target, wanted.path, "target_path") as tree:
        words = _words(restic, wanted, tree, call.public_id)
        ran = restic.run([words[0], "--dry-run", *words[1:]], tree.folder)
    ran.refuse_stopped("the dry run")
    if ran.status != INCOMPLETE:
        restic.refuse(ran, "none")
    seen = summary(ran)
    would = (
        f"back up {wanted.path}: {seen.get('total_files_processed', '?')} files, "
        f"{seen.get('total_bytes_processed', '?')} bytes, of which {seen.get('data_added', '?')} are new"
    )
    missing = "; some files cannot be read" if ran.status == INCOMPLETE else ""
    output = {"backup_id": wanted.backup_id, "would": would + missing, "commands": [restic.shown(words, tree.where)]}
    return Answer(output=output)


def probe(call: Call) -> Answer:
    """Whether the repository has the backup that this very operation made."""
    wanted, restic = wish(call), Restic(call)
    there = restic.of(wanted.backup_id, call.stop)
    made = [one for one in there if one.operation_id == call.public_id]
    if made:
        return verdict("succeeded", "the repository has the backup of this operation", _state(made[0]))
    if there:
        return verdict("not_done", "the repository has a backup with this id, made by another operation", {})
    return verdict("not_done", "the repository has no backup with this id", {})


def _words(restic: Restic, wanted: Wish, tree: Tree, operation_id: str) -> List[str]:
    """No exclusions of any kind."""
    tags = ["writ", f"writ-id={wanted.backup_id}", f"writ-op={operation_id}", *_of_folder(tree)]
    force = ["--force"] if wanted.full else []
    return ["backup", *force, f"--host={restic.host}", *(f"--tag={tag}" for tag in tags), "--", tree.entry]


def _of_folder(tree: Tree) -> List[str]:
    """restic keeps what is in a folder; how the folder itself was, for when it has to be made anew."""
    if tree.name:
        return ["writ-kind=file"]
    status = os.fstat(tree.folder)
    return ["writ-kind=folder", f"writ-mode={stat.S_IMODE(status.st_mode):04o}"]


def _refuse_taken(restic: Restic, wanted: Wish, stop: Stop) -> None:
    if restic.of(wanted.backup_id, stop):
        raise HostError("exists", f"there is a backup {wanted.backup_id} already")


def _made(restic: Restic, operation_id: str) -> Optional[Kept]:
    with afterwards() as patience:
        found = restic.kept(patience)
    return next((one for one in found if one.operation_id == operation_id), None)


def _output(wanted: Wish, made: Optional[Kept], ran: Ran) -> Dict[str, Any]:
    seen = summary(ran)
    return {
        "backup_id": wanted.backup_id,
        "reference": made.reference if made else "",
        "size": seen.get("total_bytes_processed"),
        "files": seen.get("total_files_processed"),
        "created_at": made.created_at if made else None,
        "log": said(ran),
    }


def _state(made: Kept) -> Dict[str, Any]:
    return {"backup_id": made.backup_id, "reference": made.reference}
