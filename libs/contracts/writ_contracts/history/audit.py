"""Queries to the audit service, and its replies.

Everyone may read their own record; other records need the control operation `audit_read`, decided by policy.
"""

from typing import Annotated, Any

from msgspec import Meta, Struct, field

from writ_contracts.bounds import Count, Seconds
from writ_contracts.ids import TOKEN_PATTERN, CorrelationId, OperationId, OperationPrefix, PrincipalId, TargetId
from writ_contracts.journal import Outcome
from writ_contracts.requests import Failure


class SecurityFilter(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Security events, the newest first, with or without an operation; or, with `reads`, the recorded reads of others'
    records, whose `principal` is the reader.
    """

    kind: Annotated[str, Meta(pattern=TOKEN_PATTERN)] | None = None
    principal: PrincipalId | None = None
    since: Seconds | None = None
    before: Count | None = None
    """Sequence to page on from: that of the last event received."""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    reads: bool = False
    """A field, and no kind: an audit service that does not know it refuses the query, and lists no reads as none."""

    def __post_init__(self) -> None:
        if self.reads and self.kind is not None:
            raise ValueError("give one of kind and reads")


class TraceQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """All events of an operation or of a correlation id, or security events; exactly one of the three."""

    operation_id: OperationId | None = None
    correlation_id: CorrelationId | None = None
    security: SecurityFilter | None = None
    after: Count = 0
    """Sequence to page on from: that of the last event received. Not for security events."""

    def __post_init__(self) -> None:
        if [self.operation_id, self.correlation_id, self.security].count(None) != 2:
            raise ValueError("give one of operation_id, correlation_id and security")


class TraceEvent(Struct, frozen=True, kw_only=True):
    """One event as stored: its sequence, time, kind, and its body as plain data."""

    sequence: int
    subject: str
    kind: str
    at: float
    body: dict[str, Any]


class TraceReply(Struct, frozen=True, kw_only=True):
    """The events in journal order. `as_of`: the last sequence the index had read.

    `more`: not all of them fit into one reply. `withheld`: the number of events of other principals which the reader
    may not see. `behind`: of security events, the number of the journal's last events that the index had not read.
    """

    events: list[TraceEvent] = field(default_factory=list)
    more: bool = False
    withheld: int = 0
    as_of: int = 0
    behind: int = 0
    error: Failure | None = None


MOST_NAMES, MOST_TERMS = 20, 8
OperationText = Annotated[str, Meta(pattern=TOKEN_PATTERN)]
Term = Annotated[str, Meta(max_length=200)]


class SearchQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A search for operations; all given fields must match, of several values of a filter one. Times are Unix seconds;
    newest first.

    `parameters`: values of parameters, as text, by name; `parameter_values`: likewise, each with any of several values.
    Values that the journal does not have are found by their search digests, those of secret parameters not at all.
    `rule`: a deciding rule; `rules`: any of these. `reason` matches a part of the
    requester's reason; `text` matches a part of the reason, message, code or a parameter. Case is ignored.
    """

    principal: PrincipalId | None = None
    target: TargetId | None = None
    operation: OperationText | None = None
    outcome: Outcome | None = None
    principals: Annotated[list[PrincipalId], Meta(max_length=MOST_NAMES)] = field(default_factory=list)
    targets: Annotated[list[TargetId], Meta(max_length=MOST_NAMES)] = field(default_factory=list)
    operations: Annotated[list[OperationText], Meta(max_length=MOST_NAMES)] = field(default_factory=list)
    outcomes: Annotated[list[Outcome], Meta(max_length=MOST_NAMES)] = field(default_factory=list)
    """Further values of the same filters. One field for both, a union of text and list, made msgspec 0.22 crash at the
    end of a process, in its garbage collection.
    """
    approvers: Annotated[list[PrincipalId], Meta(max_length=MOST_NAMES)] = field(default_factory=list)
    """One of these people approved or rejected it."""
    rule: Term | None = None
    rules: Annotated[list[Term], Meta(max_length=MOST_TERMS)] = field(default_factory=list)
    parameters: Annotated[dict[Term, Term], Meta(max_length=MOST_TERMS)] = field(default_factory=dict)
    parameter_values: Annotated[
        dict[Term, Annotated[list[Term], Meta(min_length=1, max_length=MOST_TERMS)]], Meta(max_length=MOST_TERMS)
    ] = field(default_factory=dict)
    reason: Term | None = None
    text: Term | None = None
    correlation_id: CorrelationId | None = None
    operation_prefix: OperationPrefix | None = None
    """The beginning of an operation id, or all of it."""
    correlation_prefix: CorrelationId | None = None
    """The beginning of a correlation id, or all of it."""
    emergency: Annotated[str, Meta(pattern=TOKEN_PATTERN)] | None = None
    """Whose decisions name this emergency: it covered the target, whether or not its rules decided."""
    client: Annotated[str, Meta(max_length=100)] | None = None
    """Name of the program that requested, as it gave it."""
    session: Annotated[str, Meta(max_length=100)] | None = None
    since: Seconds | None = None
    until: Seconds | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    before: Count | None = None
    """Sequence to page on from: the `first_sequence` of the last row received."""


class SearchRow(Struct, frozen=True, kw_only=True):
    """One operation in a search reply."""

    operation_id: str
    first_sequence: int
    principal: str
    operation: str
    target: str
    state: str
    outcome: str | None
    code: str
    requested_at: float
    updated_at: float
    correlation_id: str
    security_events: int = 0
    reason: str = ""
    rules: str = ""
    parameters: str = ""
    message: str = ""
    dry_run: bool = False


class UnknownName(Struct, frozen=True, kw_only=True):
    """A name searched for in vain: no readable operation has it. With it come the most similar names."""

    filter: str
    name: str
    nearest: list[str] = field(default_factory=list)


class HiddenValues(Struct, frozen=True, kw_only=True):
    """The part of hidden values in a search by parameters. `since`: where nothing was found, the time of the first
    request whose hidden values can be found (Unix seconds; None: there is none). `problem`: why they were left out.
    """

    since: float | None = None
    problem: str = ""


class SearchReply(Struct, frozen=True, kw_only=True):
    """The rows; `more`: there are further ones. `unknown`: misspelt names, where nothing was found. `hidden`: only for
    a search by parameters. `behind`: the number of the journal's last events that the index had not read yet, as while
    it is built: what they record is missing.
    """

    rows: list[SearchRow] = field(default_factory=list)
    more: bool = False
    as_of: int = 0
    behind: int = 0
    unknown: list[UnknownName] = field(default_factory=list)
    hidden: HiddenValues | None = None
    error: Failure | None = None


class JournalQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A query for the journal's length and the last sequence which may be archived now. `until`: archive only events up
    to this time (Unix seconds).
    """

    until: Seconds | None = None


class JournalReply(Struct, frozen=True, kw_only=True):
    """The journal holds `first` to `last`.

    `generation` and `archived`: the last removed range, and its last sequence; 0: none. Everything up to `cut` may go
    now; `held_by` names the obstacle to more.
    """

    first: int = 0
    last: int = 0
    bytes: int = 0
    max_bytes: int = 0
    full_at: float = 0.0
    generation: int = 0
    archived: int = 0
    digest: str = ""
    """Digest of the last archive's manifest."""
    cut: int = 0
    held_by: str = ""
    error: Failure | None = None


LARGEST_STANDING = 4_096
"""Bytes of an AuditStanding that are read."""


class AuditStanding(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """On `writ.audit.standing`, every few seconds, from each audit process: the last indexed sequence, and the number
    of events after it.
    """

    position: Annotated[int, Meta(ge=0)]
    lag: Annotated[int, Meta(ge=0)]
    instance: str = ""
    level: Annotated[int, Meta(ge=0)] = 0
    """`writ_contracts.version.LEVEL` of its release."""


def names_of(query: SearchQuery, column: str) -> list[str]:
    """Return the values of a filter with several: `principal`, `target`, `operation`, `outcome` or `rule`."""
    one, more = getattr(query, column), getattr(query, f"{column}s")
    return [*([] if one is None else [one]), *more]
