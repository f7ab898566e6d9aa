"""backup_delete: forgets what has exactly this id, frees its space; gone is what the repository no longer lists."""

from __future__ import annotations

from typing import List

from writ_hostops.backups.arguments import wish
from writ_hostops.backups.restic import Kept, Restic
from writ_hostops.errors import HostError
from writ_hostops.protocol import Answer, Call, verdict
from writ_hostops.stop import Stop, afterwards


def run(call: Call) -> Answer:
    """Delete. One that is not there is `not_found`. Space that could not be freed is told, and is no failure."""
    wanted, restic = wish(call), Restic(call)
    found = _those(restic, wanted.backup_id, call.stop)
    ran = restic.run(_forget(found))
    left = _left(restic, wanted.backup_id)
    output = {"backup_id": wanted.backup_id, "reference": found[0].reference, "removed": not left}
    effect = "none" if len(left) == len(found) else "done"
    if left:
        ran.refuse_stopped("the deletion", effect)
        restic.refuse(ran, effect)
        raise HostError("tool_failed", "restic ended well, but the backup is still there", effect=effect)
    if not ran.stopped:
        _free(call, restic)
    return Answer(output=output, state={"backup_id": wanted.backup_id, "exists": False}, effect="done")


def preview(call: Call) -> Answer:
    """What would be forgotten."""
    wanted, restic = wish(call), Restic(call)
    found = _those(restic, wanted.backup_id, call.stop)
    would = f"delete {found[0].backup_id} of {found[0].path}"
    return Answer(
        output={
            "backup_id": wanted.backup_id,
            "reference": found[0].reference,
            "would": would,
            "commands": [restic.shown(_forget(found)), restic.shown(["prune"])],
        }
    )


def probe(call: Call) -> Answer:
    """Whether it is gone."""
    wanted, restic = wish(call), Restic(call)
    if restic.of(wanted.backup_id, call.stop):
        return verdict("not_done", "the backup is there", {"backup_id": wanted.backup_id, "exists": True})
    return verdict("succeeded", "the backup is gone", {"backup_id": wanted.backup_id, "exists": False})


def _those(restic: Restic, backup_id: str, stop: Stop) -> List[Kept]:
    found = restic.of(backup_id, stop)
    if not found:
        raise HostError("not_found", f"there is no backup {backup_id}")
    return found


def _forget(found: List[Kept]) -> List[str]:
    """By restic's whole ids: it would take a prefix, too."""
    return ["forget", "--", *(one.reference for one in found)]


def _left(restic: Restic, backup_id: str) -> List[Kept]:
    with afterwards() as patience:
        return restic.of(backup_id, patience)


def _free(call: Call, restic: Restic) -> None:
    try:
        ran = restic.run(["prune"])
    except HostError as error:
        call.progress(f"its space was not freed: {error.message}")
        return
    if ran.status or ran.stopped:
        call.progress(f"its space was not freed: restic prune ended with {ran.stopped or ran.status}")
