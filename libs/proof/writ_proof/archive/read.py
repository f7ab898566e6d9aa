"""Read traces from an archive. They equal those of audit from when the events were in the journal."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

from writ_contracts.history.audit import TraceEvent, TraceReply
from writ_contracts.history.records import Record
from writ_proof.archive.check import read_manifest, records, sealed
from writ_proof.bundles import MANIFEST, Bundle


def trace(path: Path, number: str, policy_keys: Collection[str]) -> TraceReply:
    """Return the events of an operation or of a correlation id, and other events which name it. Raises Damaged.

    Outcomes and reasons have no signature of their own, so one of policy's keys has to have sealed the archive. Without
    keys this is not checked.
    """
    word = json.dumps(number)[1:-1].encode()
    with Bundle(path) as bundle:
        manifest = read_manifest(path, encoded := bundle.read(MANIFEST))
        if policy_keys:
            sealed(bundle, manifest, encoded, policy_keys)
        events = [event for record in records(bundle, manifest) if (event := _event(record, word, number)) is not None]
    return TraceReply(events=events, as_of=manifest.last)


def _event(record: Record, word: bytes, number: str) -> TraceEvent | None:
    if word not in record.data:
        return None
    try:
        body = msgspec.json.decode(record.data, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return None
    if number not in (body.get("operation_id"), body.get("correlation_id")):
        return None
    body.pop("search_digests", None)  # as in a trace of the journal
    kind, at = str(body.get("type", "")), body.get("at")
    when = float(at) if isinstance(at, int | float) else record.time
    return TraceEvent(sequence=record.sequence, subject=record.subject, kind=kind, at=when, body=body)
