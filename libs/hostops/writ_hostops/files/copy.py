"""file_copy: copy one regular file to another name beneath the roots, atomically, with the digest of the copied
bytes.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Dict, Iterator, Optional

from writ_hostops.errors import HostError, RacedChange, system_errors
from writ_hostops.fields import Fields
from writ_hostops.files.content import (
    CHUNK,
    FileFacts,
    chunks,
    facts_of,
    named_facts,
    state_at,
    state_of,
    version_at,
    version_of,
)
from writ_hostops.files.diff import copy_diff
from writ_hostops.files.file_locks import locked
from writ_hostops.files.open_beneath import FolderEntry, opened_file, opened_place
from writ_hostops.files.replacement import ExistingFile, opened_old, put, refuse_without_room, shown_put
from writ_hostops.files.write import ATTEMPTS
from writ_hostops.protocol import HostReply, OperationCall, verdict

_PROGRESS_EVERY = 1.0
_ZEROS = bytes(CHUNK)
SOURCE_VERSION = "source_version"


@dataclass(frozen=True)
class CopyEnds:
    """Both ends of a copy, opened."""

    source_path: str
    source: int
    dest: FolderEntry
    overwrite: bool


def run(call: OperationCall) -> HostReply:
    """Copy the file. An equal copy at the destination is left alone (`changed` false, effect none)."""
    with _opened(call) as copy:
        for _ in range(ATTEMPTS):
            try:
                return _copy(call, copy)
            except RacedChange:
                call.progress("the destination was changed by another program at the same moment; reading it again")
        raise RacedChange(copy.dest.path)


def preview(call: OperationCall) -> HostReply:
    """Return the effect that `run` would have now, with a diff if the requester may read both files."""
    with _opened(call) as copy, opened_old(copy.dest, call.stop, "") as old, system_errors(copy.source_path):
        source = facts_of(copy.source, call.stop)
        _refuse_same(copy, old)
        before = old.facts if old else None
        equal = _equal(copy, source, old, call)
        if before and not equal and not copy.overwrite:
            raise HostError("exists", f"{copy.dest.path} exists, and overwrite is false")
        commands = [] if equal else shown_put(copy.dest, source.size, bool(old))
        diff = {} if not call.diff else {"diff": ""} if equal else copy_diff(copy.dest.path, old, copy.source)
        # Of the files that were read, after the reads: the names may have led to others at the baseline.
        versions = {"version": version_at(old.fd if old else None), SOURCE_VERSION: version_at(copy.source)}
    would = "nothing" if equal else "replace" if before else "create"
    output = {"would": would, "commands": commands, **_output(copy, before, source.digest, source.size), **diff}
    return HostReply(output={**output, **versions}, state=state_of(before))


def baseline(call: OperationCall) -> HostReply:
    """Return the destination's state, and the version of the source: an approval is of both."""
    state = {**state_at(call, "dest_path"), SOURCE_VERSION: _source_version(call)}
    return HostReply(output=state, state=state)


def _source_version(call: OperationCall) -> str:
    """Return the version of the source, "" for one that cannot be copied: the operation says why."""
    try:
        source = named_facts(call, "source_path", largest=-1)
    except HostError:
        return ""
    return source.version if source else ""


def probe(call: OperationCall) -> HostReply:
    """Report success if both ends have equal digests."""
    dest = state_at(call, "dest_path")
    if dest["exists"] and _digests_match(call):
        return verdict("succeeded", "both files have the same content", dest)
    if call.baseline and dest == {name: one for name, one in call.baseline.items() if name != SOURCE_VERSION}:
        return verdict("not_done", "the destination is as it was before", dest)
    return verdict("unknown", "the destination is neither unchanged nor a copy of the present source", dest)


def _digests_match(call: OperationCall) -> bool:
    try:
        with _opened(call) as copy, opened_file(copy.dest) as dest, system_errors(copy.source_path):
            source = facts_of(copy.source, call.stop, always_hash=True)
            return source.digest == facts_of(dest, call.stop, always_hash=True).digest
    except HostError as error:
        if error.code == "not_found":
            return False
        raise


@contextmanager
def _opened(call: OperationCall) -> Iterator[CopyEnds]:
    fields = Fields(dict(call.parameters), "parameters")
    source_path, dest_path = fields.text("source_path"), fields.text("dest_path")
    overwrite = fields.flag("overwrite", False)
    fields.end()
    with (
        opened_place(call.target, source_path, "source_path") as place,
        opened_file(place) as source,
        opened_place(call.target, dest_path, "dest_path") as dest,
    ):
        yield CopyEnds(source_path, source, dest, overwrite)


def _copy(call: OperationCall, copy: CopyEnds) -> HostReply:
    with locked(copy.dest, call.stop) as temporary, opened_old(copy.dest, call.stop, "") as old:
        _refuse_same(copy, old)
        before = old.facts if old else None
        _refuse_other_source(call, copy)
        with system_errors(copy.source_path):
            source = facts_of(copy.source, call.stop) if old else None
        if old and source and _equal(copy, source, old, call):
            _refuse_other_source(call, copy)
            output = {"changed": False, **_output(copy, before, source.digest or old.facts.digest, source.size)}
            return HostReply(output=output, state=state_of(before))
        if old and not copy.overwrite:
            raise HostError("exists", f"{copy.dest.path} exists, and overwrite is false")
        after = _put(call, copy, temporary, old)
    output = {"changed": True, **_output(copy, before, after.digest, after.size)}
    return HostReply(output=output, state=after.as_state(), effect="done")


def _equal(copy: CopyEnds, source: FileFacts, old: Optional[ExistingFile], call: OperationCall) -> bool:
    if old is None or source.size != old.facts.size:
        return False
    if source.digest:
        return source.digest == old.facts.digest
    with system_errors(copy.dest.path):
        return facts_of(copy.source, call.stop, True).digest == facts_of(old.fd, call.stop, True).digest


def _refuse_same(copy: CopyEnds, old: Optional[ExistingFile]) -> None:
    if old and os.path.samestat(old.status, os.fstat(copy.source)):
        raise HostError("invalid_parameter", "source_path and dest_path are the same file")


def _refuse_other_source(call: OperationCall, copy: CopyEnds) -> None:
    """Raises HostError (`source_changed`) for a source that is not the one of the baseline. Without a baseline, which
    could not be read then, any source is copied.
    """
    expected = call.baseline.get(SOURCE_VERSION)
    if expected is not None and version_of(os.fstat(copy.source)) != expected:
        raise HostError("source_changed", f"{copy.source_path} was written or replaced since the operation began")


def _put(call: OperationCall, copy: CopyEnds, temporary: str, old: Optional[ExistingFile]) -> FileFacts:
    _refuse_other_source(call, copy)
    before = os.fstat(copy.source)
    refuse_without_room(copy.dest, before.st_size)
    digest = hashlib.sha256()

    def fill(dest: int) -> None:
        for chunk in _reported(call, copy, before.st_size):
            digest.update(chunk)
            _write_sparse(dest, chunk)
        os.ftruncate(dest, os.lseek(dest, 0, os.SEEK_CUR))
        if version_of(os.fstat(copy.source)) != version_of(before):
            raise HostError("digest_mismatch", f"{copy.source_path} was written to meanwhile; nothing was done")

    mode = None if old else stat.S_IMODE(before.st_mode) & 0o777
    status = put(copy.dest, temporary, old, mode, fill, call.stop)
    return FileFacts(digest.hexdigest(), status.st_size, stat.S_IMODE(status.st_mode), version_of(status))


def _reported(call: OperationCall, copy: CopyEnds, size: int) -> Iterator[bytes]:
    done, reported_at = 0, time.monotonic()
    with system_errors(copy.source_path):
        for chunk in chunks(copy.source, call.stop):
            yield chunk
            done += len(chunk)
            if time.monotonic() - reported_at >= _PROGRESS_EVERY:
                reported_at = time.monotonic()
                call.progress(f"copied {done} of {size} bytes")


def _write_sparse(fd: int, chunk: bytes) -> None:
    if _ZEROS.startswith(chunk):
        os.lseek(fd, len(chunk), os.SEEK_CUR)
        return
    view = memoryview(chunk)
    while view:
        view = view[os.write(fd, view) :]


def _output(copy: CopyEnds, before: Optional[FileFacts], digest: str, size: int) -> Dict[str, Any]:
    return {
        "source_path": copy.source_path,
        "dest_path": copy.dest.path,
        "created": before is None,
        "digest_before": before.digest if before else "",
        "digest_after": digest,
        "size_before": before.size if before else 0,
        "size_after": size,
    }
