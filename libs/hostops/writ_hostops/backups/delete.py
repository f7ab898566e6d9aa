"""backup_delete: forget every snapshot with exactly this id and free its space. The repository's list decides the
outcome.
"""

from __future__ import annotations

from typing import List

from writ_hostops.backups.arguments import parse_arguments
from writ_hostops.backups.restic import Restic, StoredBackup
from writ_hostops.errors import HostError
from writ_hostops.protocol import HostReply, OperationCall, verdict
from writ_hostops.stop import CancelToken, afterwards


def run(call: OperationCall) -> HostReply:
    """Delete the backup. An absent one is `not_found`. Space that could not be freed is reported, and is no failure."""
    arguments, restic = parse_arguments(call), Restic(call)
    backups = _those(restic, arguments.backup_id, call.stop)
    ran = restic.run(_forget(backups))
    left = _left(restic, arguments.backup_id)
    output = {"backup_id": arguments.backup_id, "reference": backups[0].reference, "removed": not left}
    effect = "none" if len(left) == len(backups) else "done"
    if left:
        ran.refuse_stopped("the deletion", effect)
        restic.refuse(ran, effect)
        raise HostError("tool_failed", "restic ended without an error, but the backup still exists", effect=effect)
    if not ran.stopped:
        _free(call, restic)
    return HostReply(output=output, state={"backup_id": arguments.backup_id, "exists": False}, effect="done")


def preview(call: OperationCall) -> HostReply:
    """Return the snapshots that would be forgotten."""
    arguments, restic = parse_arguments(call), Restic(call)
    backups = _those(restic, arguments.backup_id, call.stop)
    would = f"delete {backups[0].backup_id} of {backups[0].path}"
    return HostReply(
        output={
            "backup_id": arguments.backup_id,
            "reference": backups[0].reference,
            "would": would,
            "commands": [restic.shown(_forget(backups)), restic.shown(["prune"])],
        }
    )


def probe(call: OperationCall) -> HostReply:
    """Report success if the backup is gone."""
    arguments, restic = parse_arguments(call), Restic(call)
    if restic.of(arguments.backup_id, call.stop):
        return verdict("not_done", "the backup still exists", {"backup_id": arguments.backup_id, "exists": True})
    return verdict("succeeded", "the backup is gone", {"backup_id": arguments.backup_id, "exists": False})


def _those(restic: Restic, backup_id: str, stop: CancelToken) -> List[StoredBackup]:
    backups = restic.of(backup_id, stop)
    if not backups:
        raise HostError("not_found", f"there is no backup {backup_id}")
    return backups


def _forget(backups: List[StoredBackup]) -> List[str]:
    """Forget by restic's whole ids: it would take a prefix, too."""
    return ["forget", "--", *(one.reference for one in backups)]


def _left(restic: Restic, backup_id: str) -> List[StoredBackup]:
    with afterwards() as patience:
        return restic.of(backup_id, patience)


def _free(call: OperationCall, restic: Restic) -> None:
    try:
        ran = restic.run(["prune"])
    except HostError as error:
        call.progress(f"its space was not freed: {error.message}")
        return
    if ran.status or ran.stopped:
        call.progress(f"its space was not freed: restic prune ended with {ran.stopped or ran.status}")
