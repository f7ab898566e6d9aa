"""Read traces from an archive. They equal those of audit from when the events were in the journal."""

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import msgspec

from writ_contracts.errors import Invalid
from writ_contracts.history.audit import TraceEvent, TraceReply
from writ_contracts.history.records import Record
from writ_contracts.ids import WHOLE_ID
from writ_proof.archive.check import read_manifest, records, sealed
from writ_proof.bundles import MANIFEST, Bundle

SHOWN_IDS = 4


def trace(path: Path, number: str, policy_keys: Collection[str]) -> TraceReply:
    """Return the events of an operation or of a correlation id, and other events which name it. `number` may be the
    beginning of one id. Raises DamagedBundle, and Invalid where several ids begin so.

    Outcomes and reasons have no signature of their own, so one of policy's keys has to have sealed the archive. Without
    keys this is not checked.
    """
    with Bundle(path, "archive") as bundle:
        manifest = read_manifest(path, encoded := bundle.read(MANIFEST))
        if policy_keys:
            sealed(bundle, manifest, encoded, policy_keys)
        whole = number if len(number) == WHOLE_ID else whole_id(records(bundle, manifest), number)
        events = [event for record in records(bundle, manifest) if (event := _event(record, whole)) is not None]
    return TraceReply(events=events, as_of=manifest.last)


def whole_id(found: Iterable[Record], beginning: str) -> str:
    """Return the one id that begins so, also one of an operation and its correlation; an unknown one as it is."""
    ids = set[str]()
    for record in found:
        body = _body(record, beginning)
        names = [body.get(name) for name in ("operation_id", "correlation_id")]
        if beginning in names:
            return beginning
        for name in names:
            if isinstance(name, str) and name.startswith(beginning) and len(ids) <= SHOWN_IDS:
                ids.add(name)
    if len(ids) > 1:
        more = " …" if len(ids) > SHOWN_IDS else ""
        raise Invalid(f"several ids begin with {beginning!r}: {', '.join(sorted(ids)[:SHOWN_IDS])}{more}")
    return next(iter(ids), beginning)


def _body(record: Record, word: str) -> dict[str, Any]:
    """Return the body of an event with this word in it; an empty one for any other."""
    if json.dumps(word)[1:-1].encode() not in record.data:
        return {}
    try:
        return msgspec.json.decode(record.data, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return {}


def _event(record: Record, number: str) -> TraceEvent | None:
    body = _body(record, number)
    if number not in (body.get("operation_id"), body.get("correlation_id")):
        return None
    body.pop("search_digests", None)  # as in a trace of the journal
    kind, at = str(body.get("type", "")), body.get("at")
    when = float(at) if isinstance(at, int | float) else record.time
    return TraceEvent(sequence=record.sequence, subject=record.subject, kind=kind, at=when, body=body)
