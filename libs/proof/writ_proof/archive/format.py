"""The content of an archive: the events of a range of the journal as they were stored, a manifest, and a seal.

Segments hold one event a line, in order. The manifest names each segment by its digest, and the preceding archive; its
own digest is a parameter of the operation `journal_archive`, so its author and policy signed for it. The seal is the
operation's control event. The same range always makes the same manifest.
"""

import base64
import hashlib

import msgspec
from msgspec import Struct, field

from writ_contracts.history.records import Record
from writ_proof.bundles import DamagedBundle

FORMAT = "writ.journal.archive.v1"
SEAL = "seal.json"
SEGMENT_EVENTS = 5_000


class EventLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event. `data` is its exact text; in base64 where it is not UTF-8."""

    sequence: int
    subject: str
    time: float
    headers: dict[str, str] = field(default_factory=dict)
    data: str = ""
    base64: bool = False


class Segment(Struct, frozen=True, kw_only=True):
    """A file of events."""

    name: str
    first: int
    last: int
    events: int
    bytes: int
    sha256: str


class ArchiveManifest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`previous`: digest of the preceding archive's manifest, "" for the first; `control`: see `JournalArchive`.

    `damaged`: sequences of events already damaged when the range was archived.
    """

    format: str
    generation: int
    first: int
    last: int
    events: int
    previous: str
    control: str
    segments: list[Segment]
    damaged: list[int] = field(default_factory=list)

    def encoded(self) -> bytes:
        """Return the bytes under its digest."""
        return msgspec.json.encode(self)


def digest_of(manifest: bytes) -> str:
    """Return the digest which names an archive."""
    return hashlib.sha256(manifest).hexdigest()


def encode_line(record: Record) -> bytes:
    """Return an event in the form of the archive, with the line end."""
    try:
        text, packed = record.data.decode(), False
    except UnicodeDecodeError:
        text, packed = base64.b64encode(record.data).decode(), True
    line = EventLine(
        sequence=record.sequence,
        subject=record.subject,
        time=record.time,
        headers=dict(sorted(record.headers.items())),
        data=text,
        base64=packed,
    )
    return msgspec.json.encode(line) + b"\n"


def decode_line(text: bytes) -> Record:
    """Return the event. Raises DamagedBundle."""
    try:
        line = msgspec.json.decode(text, type=EventLine)
        data = base64.b64decode(line.data, validate=True) if line.base64 else line.data.encode()
    except (msgspec.DecodeError, ValueError) as error:
        raise DamagedBundle(f"a line is not an event: {error}") from error
    return Record(line.sequence, line.subject, data, line.headers, line.time)
