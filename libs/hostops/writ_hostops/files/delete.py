"""file_delete: remove one regular file by its name, only if it is still the intended file. Folders are refused."""

from __future__ import annotations

from typing import Any, Dict

from writ_hostops.errors import HostError, RacedChange
from writ_hostops.fields import Fields
from writ_hostops.files.content import ABSENT, FileFacts, state_at
from writ_hostops.files.file_locks import locked
from writ_hostops.files.open_beneath import FolderEntry, opened_place
from writ_hostops.files.replacement import opened_old, shown_take_away, take_away
from writ_hostops.files.write import ATTEMPTS, digest_field
from writ_hostops.protocol import HostReply, OperationCall, verdict


def run(call: OperationCall) -> HostReply:
    """Delete the file. An absent file is `not_found`: the requester probably meant another name."""
    path, if_digest = _parse(call)
    with opened_place(call.target, path, "file_path") as place:
        for _ in range(ATTEMPTS):
            try:
                facts = _delete(call, place, if_digest)
            except RacedChange:
                call.progress("the file was changed by another program at the same moment; reading it again")
            else:
                return HostReply(output={"changed": True, **_output(path, facts)}, state=dict(ABSENT), effect="done")
        raise RacedChange(path)


def preview(call: OperationCall) -> HostReply:
    """Return the effect that `run` would have now."""
    path, if_digest = _parse(call)
    with opened_place(call.target, path, "file_path") as place, opened_old(place, call.stop, if_digest) as old:
        if old is None:
            raise HostError("not_found", f"{path} does not exist")
        output = {"would": "delete", "commands": shown_take_away(place), **_output(path, old.facts)}
        return HostReply(output=output, state=old.facts.as_state())


def baseline(call: OperationCall) -> HostReply:
    """Return the file's state."""
    state = state_at(call, "file_path")
    return HostReply(output=state, state=state)


def probe(call: OperationCall) -> HostReply:
    """Report success if the file of the baseline is gone."""
    state = state_at(call, "file_path")
    if call.baseline and state == dict(call.baseline):
        return verdict("not_done", "all is as it was before", state)
    if not state["exists"]:
        return verdict("succeeded", "the file is gone", state)
    return verdict("unknown", "a file exists, and it is not known if it is the old one", state)


def _delete(call: OperationCall, place: FolderEntry, if_digest: str) -> FileFacts:
    with locked(place, call.stop) as temporary, opened_old(place, call.stop, if_digest) as old:
        if old is None:
            raise HostError("not_found", f"{place.path} does not exist")
        take_away(place, temporary, old, call.stop)
        return old.facts


def _parse(call: OperationCall) -> "tuple[str, str]":
    fields = Fields(dict(call.parameters), "parameters")
    path, if_digest = fields.text("file_path"), digest_field(fields)
    fields.end()
    return path, if_digest


def _output(path: str, facts: FileFacts) -> Dict[str, Any]:
    return {"file_path": path, "digest_before": facts.digest, "size_before": facts.size}
