"""backup_list: Writ's own backups of this host, newest first."""

from __future__ import annotations

from typing import List

from writ_hostops.backups.arguments import path_from
from writ_hostops.backups.restic import Restic
from writ_hostops.fields import Fields
from writ_hostops.protocol import HostReply, OperationCall

MOST = 1000


def run(call: OperationCall) -> HostReply:
    """List all backups, or those of one path."""
    fields = Fields(dict(call.parameters), "parameters")
    path, limit = path_from(fields, ""), fields.integer("limit", 100, 1, MOST)
    fields.end()
    backups = [one for one in Restic(call).kept(call.stop) if not path or one.path == path]
    return HostReply(output={"backups": [one.entry() for one in backups[:limit]], "truncated": len(backups) > limit})


def names(call: OperationCall) -> List[str]:
    """Return the ids of the backups."""
    return [one.backup_id for one in Restic(call).kept(call.stop)]
