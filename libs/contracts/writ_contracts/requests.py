"""Requests and replies between requesters and executors.

Any NATS client can send `{"target": "web-1", "parameters": {"service_name": "nginx"}}` on
`writ.request.<principal>.<operation>`. The subject and the server name the principal, never this payload.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, field

from writ_contracts.bounds import Count, Label, LongText, Seconds, Values
from writ_contracts.extensible import Extensible
from writ_contracts.ids import (
    CorrelationId,
    Digest,
    Hex32,
    IdempotencyKey,
    OperationId,
    OperationName,
    PrincipalId,
    TargetId,
)
from writ_contracts.people.credentials import PresenceEvidence
from writ_contracts.signing import Signed, Statement

MAX_REQUEST_BYTES = 1_500_000
"""A request may carry 1 MiB of file content in base64; the server's own limit is 2 MB."""
LONGEST_REASON = 1000
"""Characters of the reason of a request, or of an approval."""


class ClientInfo(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The requesting program, as it names itself: for the record, and never a reason to permit anything.

    `session`: one run of the program, or its gateway token.
    """

    name: Annotated[str, Meta(max_length=100)] = ""
    version: Annotated[str, Meta(max_length=100)] = ""
    session: Annotated[str, Meta(max_length=100)] = ""


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One request. `statement` is the principal's own signature (`RequestStatement`), `salt` opens its digest.
    `presence` proves the person's presence, where the policy demands it of the requester.
    """

    target: TargetId
    parameters: Values = field(default_factory=dict)
    reason: Annotated[str, Meta(max_length=LONGEST_REASON)] = ""
    dry_run: bool = False
    idempotency_key: IdempotencyKey | None = None
    correlation_id: CorrelationId | None = None
    statement: Signed | None = None
    salt: Hex32 | None = None
    client: ClientInfo | None = None
    presence: PresenceEvidence | None = None

    def __post_init__(self) -> None:
        # A statement is recorded with its request before it is verified, so it must not damage the record.
        if self.statement is not None and not _readable(self.statement):
            raise ValueError("`statement.payload` is not JSON")


def _readable(statement: Signed) -> bool:
    try:
        msgspec.json.decode(statement.payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


class RequestStatement(
    Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.request.v1"
):
    """The statement signed by a principal: exactly this operation. `parameters_digest` = HMAC-SHA-256(salt, canonical
    parameters).

    Valid for 5 minutes from `issued_at` (Unix seconds) and for one operation: the idempotency key is part of it.
    """

    principal: PrincipalId
    operation: OperationName
    target: TargetId
    parameters_digest: Digest
    idempotency_key: IdempotencyKey
    dry_run: bool
    issued_at: Seconds
    reason: Annotated[str, Meta(max_length=LONGEST_REASON)] | None = None
    """The reason of the request; None where it is not signed."""


class Verdict(Struct, frozen=True, kw_only=True):
    """A decision in short, for people."""

    decision: str
    rules: list[str]
    reason: str
    code: str
    policy: str = ""
    """Name and digest of the policy that decided, `name@digest12`."""


class Problem(Struct, frozen=True, kw_only=True):
    """One mistake in a document, with its position; both from 1."""

    line: Count
    column: Count
    message: LongText


class Failure(Struct, frozen=True, kw_only=True):
    """An error on the wire: a code of `writ_contracts.errors.CODES`, the message, and `retry`.

    `problems`: mistakes in a received document; they are not recorded, since they may quote it.
    """

    code: Label
    message: LongText
    retry: bool = False
    problems: Annotated[list[Problem], Meta(max_length=10_000)] = field(default_factory=list)


class RequestReply(Struct, frozen=True, kw_only=True):
    """The one reply to a request, sent after the decision is durable.

    `state` is a state of `writ_contracts.life`; `outcome` is set when it has already ended (denied, invalid,
    previewed).
    """

    operation_id: OperationId | None = None
    correlation_id: str | None = None
    state: str = "refused"
    outcome: str | None = None
    verdict: Verdict | None = None
    error: Failure | None = None


class OperationQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A query for one operation (`writ.query.<principal>.operation`) or its full output (`….result`)."""

    operation_id: OperationId


class OpenQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A query for one's own open operations (`….operations`). `after`: the `last` of the page before."""

    after: Count = 0


class WaitingReason(Struct, frozen=True, kw_only=True):
    """Why an operation has not started yet, what its run waits for, or why nothing is known of its run. `text` is for
    people.
    """

    kind: Extensible[Literal["target", "limit", "approval", "agent", "host", "storage", "policy"]]
    """`host`: its agent reports that it waits, such as for a host that does not reply or for a lock there."""
    text: str
    operation_id: str = ""
    """The operation that has the target, or is before this one in its line."""
    rule: str = ""
    """The rule whose limit is reached."""
    silent: str = ""
    """The host or agent that does not reply, or the pool that has none."""


class ExpectedFailure(Struct, frozen=True, kw_only=True):
    """The failure with which an accepted operation would end, as far as that is known before it runs. `found_at`: when
    an agent found the cause in a target test (Unix seconds); None where the target's entry is the cause.
    """

    code: str
    message: str
    found_at: float | None = None


class OperationView(Struct, frozen=True, kw_only=True):
    """The state of one operation, for its requester."""

    operation_id: OperationId
    principal: PrincipalId
    operation: str
    target: str
    state: str
    requested_at: float
    updated_at: float
    correlation_id: str
    dry_run: bool = False
    reason: str = ""
    outcome: str | None = None
    code: str = ""
    message: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    output: dict[str, Any] = field(default_factory=dict)
    rules: list[str] = field(default_factory=list)
    waiting: WaitingReason | None = None


class OperationReply(Struct, frozen=True, kw_only=True):
    """The operation, or an error."""

    operation: OperationView | None = None
    error: Failure | None = None


class OperationsReply(Struct, frozen=True, kw_only=True):
    """One's own open operations, in the order of their requests. `more`: query again `after` the `last`."""

    operations: list[OperationView] = field(default_factory=list)
    more: bool = False
    last: int = 0
    error: Failure | None = None


class ResultReply(Struct, frozen=True, kw_only=True):
    """The full output of one's own operation, while it is kept (an hour)."""

    output: dict[str, Any] | None = None
    error: Failure | None = None


class SimulateQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A query for the decision on a request (`….simulate`): nothing is recorded, nothing is done. A host is read only
    where a rule needs a listing of the target.
    """

    operation: Label
    target: TargetId
    parameters: Values = field(default_factory=dict)
    dry_run: bool = False


class SimulateReply(Struct, frozen=True, kw_only=True):
    """The verdict, its whole trace (considered rules, each with its first failed clause), and the effective parameters.

    `parameters` are public fields only; `hidden` names the others.
    """

    verdict: Verdict | None = None
    trace: list[dict[str, Any]] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)
    waiting: WaitingReason | None = None
    """The agent that the operation would wait for. The decision is the same with and without it."""
    fails: ExpectedFailure | None = None
    """Set where the request would be accepted, and its operation would fail. The decision is the same."""
    host_tested_at: float | None = None
    """When an agent last tested what the host lacks (Unix seconds); None where nothing is known of the host."""
    error: Failure | None = None


class TargetsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A query for the inventory (`….targets`). `after`: the last target on the page before."""

    after: TargetId | None = None


class TargetView(Struct, frozen=True, kw_only=True):
    """A target in the form for requesters: no connection, no paths."""

    id: TargetId
    role: str
    backend: str
    pool: str
    tags: list[str] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)
    agents: int = 0
    """Agent processes of its pool with a heartbeat within a lease."""
    lacking: dict[str, ExpectedFailure] = field(default_factory=dict)
    """Those of `operations` that would fail, as its last test found."""


class TargetsReply(Struct, frozen=True, kw_only=True):
    """The targets, by id. `more`: query again `after` the last one."""

    targets: list[TargetView] = field(default_factory=list)
    more: bool = False
    error: Failure | None = None
