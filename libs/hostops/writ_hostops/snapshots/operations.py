"""snapshot_create, snapshot_list, snapshot_restore and snapshot_delete. Results come from the list read afterwards."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Tuple

from writ_hostops.errors import HostError
from writ_hostops.fields import Fields
from writ_hostops.files.paths import locate, within
from writ_hostops.files.trees import entered, opened_parent
from writ_hostops.protocol import HostReply, OperationCall, verdict
from writ_hostops.snapshots import btrfs, calls
from writ_hostops.snapshots.btrfs import BtrfsStore
from writ_hostops.snapshots.store import Snapshot, SnapshotStore
from writ_hostops.snapshots.zfs import ZfsStore, datasets
from writ_hostops.stop import afterwards

MAX_NAME, MAX_DESCRIPTION = 128, 1000
MOST = 1000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]*")
_READS_NO_FILE = ("snapshot_list", "snapshot_delete")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class SnapshotArguments:
    """Parameters of the snapshot operations."""

    path: str
    name: str = ""
    description: str = ""


def create(call: OperationCall) -> HostReply:
    arguments = _parse_arguments(call)
    with _store(call, arguments.path) as store:
        _refuse_taken(store, arguments)
        store.create(arguments.name, arguments.description, call.public_id)
        with afterwards():
            snapshot, caveat = _find(store, arguments.name), store.caveat()
    if snapshot is None or not snapshot.finished:
        raise HostError("tool_failed", "the snapshot was created, but does not exist", effect="maybe")
    output = {**_output(snapshot), "log": caveat}
    return HostReply(output=output, state={"snapshot_name": snapshot.name, "exists": True}, effect="done")


def restore(call: OperationCall) -> HostReply:
    arguments = _parse_arguments(call)
    with _store(call, arguments.path) as store:
        kept = _existing(store, arguments)
        call.stop.check()
        left = store.restore(kept)
    return HostReply(output={**_output(kept), "log": left}, state={"snapshot_name": kept.name}, effect="done")


def delete(call: OperationCall) -> HostReply:
    """Carry out snapshot_delete. An absent snapshot is `not_found`."""
    arguments = _parse_arguments(call)
    with _store(call, arguments.path) as store:
        store.delete(_existing(store, arguments, unfinished=True))
        with afterwards():
            left = _find(store, arguments.name)
    if left is not None:
        raise HostError("tool_failed", "the snapshot was deleted, but still exists", effect="maybe")
    output = {"snapshot_name": arguments.name, "removed": True}
    return HostReply(output=output, state={"snapshot_name": arguments.name, "exists": False}, effect="done")


def listing(call: OperationCall) -> HostReply:
    with _store(call, _parse_arguments(call).path) as store:
        snapshots = [one for one in store.all() if one.finished]
    return HostReply(
        output={"snapshots": [one.entry() for one in snapshots[:MOST]], "truncated": len(snapshots) > MOST}
    )


def preview(call: OperationCall) -> HostReply:
    """Return the effect that the operation would have now, and the free space."""
    arguments, verb = _parse_arguments(call), call.operation.rpartition("_")[2]
    with _store(call, arguments.path) as store:
        if verb == "create":
            _refuse_taken(store, arguments)
            snapshot = Snapshot(arguments.name, 0.0, arguments.description, call.public_id)
            would = "; ".join(filter(None, (f"keep {arguments.path} as {arguments.name}", store.caveat())))
        else:
            snapshot = _existing(store, arguments, unfinished=verb == "delete")
            would = _loss(store, arguments, snapshot, verb)
        free, commands = store.free(), store.commands(verb, snapshot)
    return HostReply(
        output={"snapshot_name": arguments.name, "would": f"{would}; {free} bytes are free", "commands": commands},
        state={"free_bytes": free},
    )


def probe(call: OperationCall) -> HostReply:
    """Report success if the very snapshot of this operation exists after a create, or is gone after a delete."""
    arguments = _parse_arguments(call)
    with _store(call, arguments.path) as store:
        there = _find(store, arguments.name)
    state = {"snapshot_name": arguments.name, "exists": there is not None}
    word, reason = judge(call.operation, call.public_id, there)
    return verdict(word, reason, state)


def baseline(call: OperationCall) -> HostReply:
    """Return the folder's subvolume before a restore."""
    with _store(call, _parse_arguments(call).path) as store:
        state = store.now()
    return HostReply(output=state, state=state)


def probe_restore(call: OperationCall) -> HostReply:
    """Report success if the folder is a copy of the snapshot and was none before."""
    arguments = _parse_arguments(call)
    with _store(call, arguments.path) as store:
        kept, now = _find(store, arguments.name), store.now()
    return verdict(*judge_restore(dict(call.baseline), now, kept), now)


def judge_restore(before: Dict[str, Any], now: Dict[str, str], kept: Optional[Snapshot]) -> Tuple[str, str]:
    """Return succeeded, not_done or unknown, with the reason."""
    if not now or not before.get("reference"):
        return "unknown", "the folder's former and present state cannot be distinguished"
    if now["reference"] == before["reference"]:
        return "not_done", "it is the subvolume that it was before"
    if kept is not None and now["origin"] == kept.reference:
        return "succeeded", "it is another subvolume than before, and a copy of the snapshot"
    return "unknown", "it is another subvolume than before, and no copy of the snapshot"


def judge(operation: str, operation_id: str, there: Optional[Snapshot]) -> Tuple[str, str]:
    """Return succeeded, not_done or unknown, with the reason."""
    if operation == "snapshot_delete":
        return ("succeeded", "it is gone") if there is None else ("not_done", "it is there")
    if there is None:
        return "not_done", "it is not there"
    if not there.finished:
        return "unknown", "it was begun, but not completed"
    if there.operation_id != operation_id:
        return "not_done", "there is one of this name, made by another operation"
    return "succeeded", "the snapshot of this operation is there"


def names(call: OperationCall) -> List[str]:
    """Return the snapshot names of all folders beneath the target's file roots."""
    roots = [root.path for root in call.target.file_roots]
    snapshot_names: List[str] = []
    for root in roots:
        snapshot_names += btrfs.names_beneath(root) if os.path.isdir(root) else []
    for path, dataset in datasets():
        if any(within(path, root) for root in roots):
            snapshot_names += [one.name for one in ZfsStore(path, dataset, call).all()]
    return snapshot_names


@contextmanager
def _store(call: OperationCall, path: str) -> Iterator[SnapshotStore]:
    """Yield the store of a folder strictly beneath a declared root; HostError `unsupported` where snapshots are
    impossible.
    """
    with opened_parent(call.target, path, around_own=call.operation in _READS_NO_FILE) as (parent, name):
        if not name:
            raise HostError("unsupported", f"{path} is a file root itself; snapshots are of folders beneath one")
        with entered(call.target, path, parent, name) as tree:
            if tree.name:
                raise HostError("unsupported", f"{path} is a file; snapshots are of folders")
            if calls.is_subvolume(tree.folder):
                yield BtrfsStore(locate(path, call.target.file_roots)[0], path, parent, tree.folder)
                return
            yield _zfs_store(call, path)


def _zfs_store(call: OperationCall, path: str) -> SnapshotStore:
    dataset = dict(datasets()).get(path)
    if dataset is None:
        raise HostError("unsupported", f"{path} is neither a btrfs subvolume nor where a zfs dataset is mounted")
    return ZfsStore(path, dataset, call)


def _refuse_taken(store: SnapshotStore, arguments: SnapshotArguments) -> None:
    if _find(store, arguments.name) is not None:
        raise HostError("exists", f"{arguments.path} has a snapshot {arguments.name} already")


def _existing(store: SnapshotStore, arguments: SnapshotArguments, unfinished: bool = False) -> Snapshot:
    snapshot = _find(store, arguments.name)
    if snapshot is None or not (snapshot.finished or unfinished):
        raise HostError("not_found", f"{arguments.path} has no snapshot {arguments.name}")
    return snapshot


def _find(store: SnapshotStore, name: str) -> Optional[Snapshot]:
    return next((one for one in store.all() if one.name == name), None)


def _loss(store: SnapshotStore, arguments: SnapshotArguments, kept: Snapshot, verb: str) -> str:
    if verb == "delete":
        freed = "" if kept.size is None else f", which frees {kept.size} bytes"
        return f"delete the snapshot {kept.name} of {arguments.path}{freed}"
    later = [one.name for one in store.all() if one.created_at > kept.created_at]
    lost = f", and its later snapshots {', '.join(later[:20])}" if later and isinstance(store, ZfsStore) else ""
    return f"put {arguments.path} back to {kept.name}; what came after is lost{lost}"


def _output(snapshot: Snapshot) -> Dict[str, Any]:
    return {
        "snapshot_name": snapshot.name,
        "reference": snapshot.reference,
        "created_at": snapshot.created_at,
    }


def _parse_arguments(call: OperationCall) -> SnapshotArguments:
    fields = Fields(dict(call.parameters), "parameters")
    if fields.text("container_name", ""):
        raise HostError("unsupported", "containers are kept by the backend that runs them, not by this host")
    path, named = fields.text("target_path"), call.operation != "snapshot_list"
    name = fields.text("snapshot_name") if named else ""
    description = fields.text("description", "") if call.operation == "snapshot_create" else ""
    fields.end()
    if named and (len(name) > MAX_NAME or not _NAME.fullmatch(name)):
        raise fields.wrong("snapshot_name", "must be letters, digits, '_', '.', ':' and '-', at most 128")
    if len(description) > MAX_DESCRIPTION or _CONTROL.search(description):
        raise fields.wrong("description", f"must be one line of at most {MAX_DESCRIPTION} characters")
    return SnapshotArguments(path, name, description)
