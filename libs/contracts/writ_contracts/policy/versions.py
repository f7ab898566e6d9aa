"""Versions of the policy: storage, signatures, and queries.

They are numbered from 1 in the stream `WRIT_POLICIES`: a version's number is its sequence there. It is trusted by
signatures alone: policy's own for a file; the principal's signed request and policy's decision for a published one.
"""

import zlib
from base64 import b64decode, b64encode
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from writ_contracts.catalogue.control import MAX_POLICY_BYTES
from writ_contracts.errors import Invalid
from writ_contracts.extensible import Extensible
from writ_contracts.ids import Digest
from writ_contracts.requests import Failure
from writ_contracts.signing import Signed, Statement

Origin = Literal["file", "published", "rollback"]
MAX_HISTORY = 100
MAX_DOCUMENT_BYTES = 8 * 1024 * 1024
"""Limit of a policy file, and of a published document. What does not fit into one message (MAX_POLICY_BYTES) is sent in
its packed form.
"""
PACKED = "zlib:"
"""The beginning of a document in packed form, before its base64. No policy begins so."""


def packed(document: str) -> bytes:
    """Compress a document for storage, by zlib: one of thousands of rules is larger than a message may be."""
    return zlib.compress(document.encode())


def unpacked(data: bytes) -> str:
    """Return the document. Raises Invalid for bad data, and for a document over the limit."""
    inflating = zlib.decompressobj()
    try:
        text = inflating.decompress(data, MAX_DOCUMENT_BYTES)
        if not inflating.eof or inflating.unused_data:
            raise Invalid(f"the document does not end within {MAX_DOCUMENT_BYTES:,} bytes", code="oversize")
        return text.decode()
    except (zlib.error, UnicodeDecodeError) as error:
        raise Invalid(f"the document cannot be unpacked: {error}") from error


def sent_form(document: str) -> str:
    """Return a document as a message has it: packed, where it would not fit."""
    if len(document.encode()) <= MAX_POLICY_BYTES:
        return document
    return PACKED + b64encode(packed(document)).decode()


def packed_bytes(sent: str) -> bytes | None:
    """Return the compressed bytes in a packed form; None for a document as it is. Raises Invalid."""
    if not sent.startswith(PACKED):
        return None
    try:
        data = b64decode(sent.removeprefix(PACKED), validate=True)
    except ValueError as error:
        raise Invalid(f"the document cannot be unpacked: {error}") from error
    if PACKED + b64encode(data).decode() != sent:  # only the bytes are stored, and the author signed this text
        raise Invalid("the document cannot be unpacked: its base64 is not in the canonical form")
    return data


def document_in(sent: str) -> str:
    """Return the document that was sent in either form. Raises Invalid."""
    data = packed_bytes(sent)
    return sent if data is None else unpacked(data)


class PolicyFile(
    Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.policy_file.v1"
):
    """Signed by policy when it adopts its file: this content is version `number`, after `previous` (0: none)."""

    number: int
    previous: int
    digest: Digest
    at: float


class StoredPolicy(Struct, frozen=True, kw_only=True, tag="policy"):
    """One version. `digest` is the SHA-256 of the document's UTF-8 bytes, `at` Unix seconds.

    `file` holds a signed PolicyFile. The others hold the author's RequestStatement (`salt` opens its digest of `given`)
    and policy's decision (`parameters_key` opens its digest of `effective`). The document is left out of both and added
    to open them. A rollback has the document of version `restores`.
    """

    number: int
    packed: bytes
    """The document, compressed by `packed`."""
    digest: Digest
    author: str
    """The principal; `file` for the policy file."""
    origin: Origin
    at: float
    reason: str = ""
    restores: int | None = None
    operation_id: str = ""
    given: dict[str, Any] = field(default_factory=dict)
    effective: dict[str, Any] = field(default_factory=dict)
    statement: Signed | None = None
    salt: str = ""
    decision: Signed | None = None
    parameters_key: str = ""
    file: Signed | None = None
    sent_packed: bool = False
    """The author sent, and signed, the packed form with these bytes."""

    @property
    def sent(self) -> str:
        """Return the document in the form that its author signed."""
        return self.packed_form if self.sent_packed else self.document

    @property
    def packed_form(self) -> str:
        """Return the document in its packed form."""
        return PACKED + b64encode(self.packed).decode()

    @property
    def document(self) -> str:
        """The file's text. Raises Invalid where the stored data is no document."""
        return unpacked(self.packed)


def of_file(version: StoredPolicy) -> str:
    """Return how a version of a policy file came about, for its control event."""
    if not version.reason:
        return "the policy file became this version"
    return f"recovered by the owner of the installation: {version.reason}"[:1000]


class PolicyHistoryQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A query for the versions, newest first (`writ.query.<principal>.policy_history`); page on from `before`."""

    before: Annotated[int, Meta(ge=1, le=1 << 53)] | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_HISTORY)] = 20


class PolicyVersionView(Struct, frozen=True, kw_only=True):
    """A version without its document. `problem`: the reason why it is not trusted, or does not load."""

    number: int
    digest: str
    author: str
    origin: str
    at: float
    reason: str = ""
    restores: int | None = None
    operation_id: str = ""
    size: int = 0
    in_force: bool = False
    problem: str = ""


class PolicyHistoryReply(Struct, frozen=True, kw_only=True):
    """The versions; `more`: there are older ones."""

    versions: list[PolicyVersionView] = field(default_factory=list)
    more: bool = False
    error: Failure | None = None


class PolicyShowQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A query for one version with its document (`….policy_show`); without a number, the one in force."""

    version: Annotated[int, Meta(ge=1, le=1 << 53)] | None = None


class PolicyShowReply(Struct, frozen=True, kw_only=True):
    """The version and its document, as published."""

    version: PolicyVersionView | None = None
    document: str = ""
    error: Failure | None = None


class PolicyStatusQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A query for the policy in force (`….policy_status`), open to every principal. `after`: the `last` of the page of
    stops, emergencies and windows before.
    """

    after: Annotated[str, Meta(max_length=128)] = ""


class StopView(Struct, frozen=True, kw_only=True):
    """A stop in force. Its reach is everything which fits each non-empty list."""

    id: str
    by: str
    reason: str
    since: float
    until: float | None = None
    targets: list[str] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    principals: list[str] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)


class EmergencyView(Struct, frozen=True, kw_only=True):
    """An emergency in force, or one waiting for its review after its end."""

    id: str
    by: str
    reason: str
    since: float
    until: float
    state: Extensible[Literal["unconfirmed", "in_force", "ended", "expired", "lapsed"]]
    targets: list[str] = field(default_factory=list)
    confirm_by: float | None = None
    confirmed_by: str = ""
    ended_by: str = ""


class WindowView(Struct, frozen=True, kw_only=True):
    """An open approval window: `used` are the operations started by it."""

    id: str
    by: str
    reason: str
    since: float
    until: float
    uses: int
    operations: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    approved_by: list[str] = field(default_factory=list)


class PolicyStatusReply(Struct, frozen=True, kw_only=True):
    """The policy in force in the replying replica.

    `problems`: unusable files, and `store`, with the reason; `notes`: other news for an operator, such as a file which
    differs from the published version.
    """

    version: PolicyVersionView | None = None
    name: str = ""
    label: str = ""
    """The policy's own `version`, from its document."""
    mode: str = ""
    dry_run_only: bool = False
    rules: int = 0
    stored: int = 0
    """The last stored version; above `version.number` where later ones are not trusted."""
    control_sequence: int = 0
    stops: list[StopView] = field(default_factory=list)
    emergencies: list[EmergencyView] = field(default_factory=list)
    windows: list[WindowView] = field(default_factory=list)
    more: int = 0
    """How many stops, emergencies and windows are not listed: query again `after` the `last`."""
    last: str = ""
    inventory_digest: str = ""
    principals_digest: str = ""
    problems: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    error: Failure | None = None
