"""Verify an archive by itself: without any service, trusting only policy's public key.

It detects a changed, removed, added, moved or cut off event, in one archive or between two; an archive that policy did
not allow; and invalid signatures.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
from msgspec import Struct

from writ_contracts.catalogue.control import JournalArchive
from writ_contracts.decisions import Decision
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.history.records import Record
from writ_contracts.journal import ControlEvent
from writ_contracts.wire import decode
from writ_proof.archive.format import FORMAT, SEAL, ArchiveManifest, Segment, decode_line, digest_of
from writ_proof.archive.signatures import DamagedEvent, Signatures
from writ_proof.bundles import MANIFEST, Bundle, DamagedBundle
from writ_trust.digests import keyed_digest, same
from writ_trust.people import Directory
from writ_trust.statements import digest, open_signed


class VerifiedArchive(Struct, frozen=True, kw_only=True):
    """An intact archive. `by`: the principal who archived it; `problems`: events already damaged in the journal."""

    file: str
    generation: int
    first: int
    last: int
    events: int
    digest: str
    previous: str
    by: str
    at: float
    signatures: int
    problems: list[DamagedEvent]


def verify(path: Path, policy_keys: Collection[str], people: Directory | None = None) -> VerifiedArchive:
    """Verify the whole archive, and approvals by the newest directory of people's credentials.

    Raises DamagedBundle, and OSError if it cannot be read.
    """
    with Bundle(path, "archive") as bundle:
        encoded = bundle.read(MANIFEST)
        manifest = read_manifest(path, encoded)
        seal = sealed(bundle, manifest, encoded, policy_keys)
        signatures = Signatures(policy_keys, people)
        for record in records(bundle, manifest):
            signatures.take(record)
    unverified = {problem.sequence for problem in signatures.problems} - set(manifest.damaged)
    if unverified:
        first = next(problem for problem in signatures.problems if problem.sequence in unverified)
        raise DamagedBundle(f"{path}: event {first.sequence}: {first.what}")
    return VerifiedArchive(
        file=str(path),
        generation=manifest.generation,
        first=manifest.first,
        last=manifest.last,
        events=manifest.events,
        digest=digest_of(encoded),
        previous=manifest.previous,
        by=seal.principal,
        at=seal.at,
        signatures=signatures.signed,
        problems=signatures.problems,
    )


def follow(archives: Sequence[VerifiedArchive]) -> None:
    """Check the order of the archives. Raises DamagedBundle."""
    for before, after in pairwise(archives):
        expected = (before.generation + 1, before.digest)
        if (after.generation, after.previous) != expected or after.first <= before.last:
            raise DamagedBundle(
                f"{after.file}: it does not follow {before.file}: archive {expected[0]} is expected there"
            )
        if after.first != before.last + 1:
            raise DamagedBundle(
                f"{after.file}: events {before.last + 1} to {after.first - 1} are in no archive: the journal had lost"
                " them when it was made"
            )


def read_manifest(path: Path, encoded: bytes) -> ArchiveManifest:
    """Return the manifest, of segments without a gap. Raises DamagedBundle."""
    try:
        manifest = msgspec.json.decode(encoded, type=ArchiveManifest)
    except msgspec.DecodeError as error:
        raise DamagedBundle(f"{path}: its manifest is none: {error}") from error
    if manifest.format != FORMAT:
        raise DamagedBundle(f"{path}: it is {manifest.format[:60]}, not {FORMAT}")
    expected = manifest.first
    for segment in manifest.segments:
        if segment.first != expected or segment.last - segment.first + 1 != segment.events:
            raise DamagedBundle(f"{path}: {segment.name} does not begin at {expected}, or has too few or many events")
        expected = segment.last + 1
    if expected != manifest.last + 1 or manifest.events != manifest.last - manifest.first + 1:
        raise DamagedBundle(f"{path}: its segments end at {expected - 1}, not at {manifest.last}")
    return manifest


def records(bundle: Bundle, manifest: ArchiveManifest) -> Iterator[Record]:
    """Yield its events in order, each segment checked against the manifest at its end. Raises DamagedBundle."""
    for segment in manifest.segments:
        yield from _segment(bundle, segment)


def _segment(bundle: Bundle, segment: Segment) -> Iterator[Record]:
    whole, sequence = hashlib.sha256(), segment.first
    for line in bundle.lines(segment.name):
        whole.update(line + b"\n")
        record = decode_line(line)
        if record.sequence != sequence:
            raise DamagedBundle(f"{bundle.path}: {segment.name}: event {record.sequence} is where {sequence} should be")
        sequence += 1
        yield record
    if sequence != segment.last + 1:
        raise DamagedBundle(f"{bundle.path}: {segment.name} ends at {sequence - 1}, not at {segment.last}")
    if whole.hexdigest() != segment.sha256:
        raise DamagedBundle(
            f"{bundle.path}: {segment.name} differs from its digest in the manifest: an event in it was changed"
        )


def sealed(bundle: Bundle, manifest: ArchiveManifest, encoded: bytes, policy_keys: Collection[str]) -> ControlEvent:
    """Return the control event of its archiving. Raises DamagedBundle unless the archive has the members of its
    manifest, and policy allowed its author exactly this one. `encoded`: the manifest as it is in the archive.
    """
    path, name = bundle.path, digest_of(encoded)
    bundle.must_have(MANIFEST, SEAL, *(segment.name for segment in manifest.segments))
    try:
        event = decode(bundle.read(SEAL), ControlEvent)
        parameters = parameters_of(event)
        check_decision(event, policy_keys)
        _check_range(event, parameters, policy_keys)
    except (Invalid, Untrusted) as error:
        raise DamagedBundle(f"{path}: its seal is not valid: {error}") from error
    stated = (
        parameters.generation,
        parameters.first,
        parameters.last,
        parameters.events,
        parameters.digest,
        parameters.control,
    )
    has = (manifest.generation, manifest.first, manifest.last, manifest.events, name, manifest.control)
    if stated != has:
        raise DamagedBundle(
            f"{path}: its seal belongs to another archive: the manifest was changed, or was never announced"
        )
    return event


def _check_range(event: ControlEvent, parameters: JournalArchive, policy_keys: Collection[str]) -> None:
    """Raise Untrusted if the archive ends after the rotation of the key that sealed it."""
    if event.decision is None or not isinstance(policy_keys, Mapping):
        return
    if parameters.last >= (last := policy_keys[event.decision.key]):
        raise Untrusted(f"signed by {event.decision.key}, which counts until event {last} alone")


def parameters_of(event: ControlEvent) -> JournalArchive:
    """Return the parameters in the event. Raises Invalid."""
    known = {name: event.body[name] for name in JournalArchive.__struct_fields__ if name in event.body}
    try:
        return msgspec.convert(known, JournalArchive)
    except msgspec.ValidationError as error:
        raise Invalid(f"it describes no archive: {error}") from error


def check_decision(event: ControlEvent, policy_keys: Collection[str]) -> None:
    """Check policy's decision: it allowed exactly this, on its author's own signature. Raises Untrusted."""
    if event.kind != "journal_archive" or event.decision is None or event.statement is None:
        raise Untrusted("it has no signed statement or decision")
    decision = open_signed(event.decision, Decision, policy_keys, None)
    granted_fields = (
        decision.operation,
        decision.operation_id,
        decision.principal,
        decision.effect,
        decision.authenticated,
    )
    if granted_fields != (event.kind, event.operation_id, event.principal, "allow", "signature") or decision.dry_run:
        raise Untrusted("policy allowed another operation")
    if decision.statement_digest != digest(event.statement):
        raise Untrusted("policy allowed another request")
    known = {name: event.body[name] for name in JournalArchive.__struct_fields__ if name in event.body}
    try:
        holds = same(keyed_digest(event.parameters_key, known), decision.parameters_digest)
    except ValueError:
        holds = False
    if not holds:
        raise Untrusted("policy allowed other parameters")
