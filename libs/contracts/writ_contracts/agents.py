# long: one struct for each message between agents and executors, which are read as one list
"""Messages between agents and executors: claim, receipt, heartbeat, progress, read, cancel, and their replies.

Agents write nothing durable. They sign their messages, and trust only messages signed by policy.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Annotated, Any, Literal, cast, get_args

from msgspec import Meta, Struct, field

from writ_contracts.bounds import LONGEST_NAME, Attempt, Count, Label, Seconds, Signature, Text, Values
from writ_contracts.decisions import ReadAction
from writ_contracts.extensible import Extensible
from writ_contracts.ids import Digest, Hex32, InstanceId, OperationId, OperationName, PoolId, PrincipalId, TargetId
from writ_contracts.people.approvals import SignedApproval
from writ_contracts.people.previews import PreviewDetails
from writ_contracts.plugins import PluginDigests
from writ_contracts.requests import Failure
from writ_contracts.signing import Signed, Statement
from writ_contracts.target_tests import (
    MOST_LACKS,
    MOST_OPERATIONS,
    MOST_SURVEYED,
    HostLack,
    SurveyedTarget,
    TargetReport,
)


class Claim(Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.claim.v1"):
    """An agent instance's request to start one dispatched operation now.

    `seal_to` is an ephemeral X25519 public key (base64) for the parameters; `baseline` is the target's state before.
    `plugins`: the agent's plugins that define the operation or carry it out.
    """

    operation_id: OperationId
    attempt: Attempt
    pool: PoolId
    instance: InstanceId
    nonce: Hex32
    seal_to: Signature
    decision_digest: Digest | None = None
    """Digest of the decision in `dispatched`."""
    baseline: Values = field(default_factory=dict)
    plugins: PluginDigests = field(default_factory=dict)
    host: Digest | None = None
    """The agent's host (`writ_documents.host_identity`), where its key was enrolled for that host alone."""


STARTED_HEADER = "Writ-Started"
"""Of a claim's message: `Heartbeat.started` of the agent, which the claim itself, being on record, must not show.
"""


def named_start(headers: Mapping[str, str]) -> float:
    """Return the start that a claim's message names; 0, which no agent has, where it names none."""
    try:
        started = float(headers.get(STARTED_HEADER, ""))
    except ValueError:
        return 0.0
    return started if isfinite(started) else 0.0


TEXTS_HEADER, TEXTS_APART = "Writ-Texts", "apart"
"""With this header on a claim's message, the reply may have large texts attached as bytes
(`writ_contracts.attached_bytes`). An agent whose processor lacks AES does not send it.
"""


class ClaimMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """On `writ.claim.<pool>`. `principal` only locates the operation in the journal."""

    claim: Signed
    principal: Label


class ClaimReply(Struct, frozen=True, kw_only=True):
    """`granted` is stored: the signed Grant and the sealed `SealedParameters` (in JSON as base64). Or an error.

    An error with `retry` false: drop the claim (gone, denied, expired); with true: leave it for a later delivery.
    """

    grant: Signed | None = None
    sealed: bytes = b""
    outputs: bool = True
    """True if the receipt, which goes to the journal, may show the public output and state; it always has the
    digest.
    """
    approvals: list[SignedApproval] = field(default_factory=list)
    """The signed approvals that the grant names."""
    people: Signed | None = None
    """The signed directory of people's credentials, where one of these approvals proved a presence."""
    texts: bytes = b""
    """The encrypted large texts, which are attached to the reply's JSON and not in it; for an agent that requests it
    (`TEXTS_HEADER`).
    """
    by_digest: list[str] = field(default_factory=list)
    """The texts of which the grant's `parameters_digest` covers the digest (`Decision.by_texts`)."""
    attaches: bool = False
    """True if all executors read a ReceiptMessage with attached texts."""
    error: Failure | None = None


class SealedParameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Content of the seal: the effective parameters and the key of their digest.

    `statement`: the principal's own, sent where the risk is `admin`. `salt` and the parameters as `given` open its
    digest. `texts`: name and bytes (UTF-8) of each large text that is left out of `parameters`. They follow one another
    in `ClaimReply.texts`, encrypted with AES-256-GCM under `texts_key`. `given_texts`: those that `given` has as well.
    """

    parameters: dict[str, Any]
    parameters_key: Hex32
    statement: Signed | None = None
    salt: Hex32 | None = None
    given: dict[str, Any] = field(default_factory=dict)
    texts: list[tuple[str, int]] = field(default_factory=list)
    texts_key: Hex32 | None = None
    given_texts: list[str] = field(default_factory=list)


LARGEST_CLAIM, LARGEST_REPORT, LARGEST_HEARTBEAT, LARGEST_PROGRESS = 131_072, 16_384, 262_144, 8_192
"""Bytes of the message of an agent that are read; no correct one is longer. A heartbeat of 1.6 MB took 8 ms of each
executor.
"""
LARGEST_CLAIM_REPLY = 2 * 1024 * 1024
"""Bytes of the JSON of a reply to a claim, all that NATS takes. For an agent without AES it has the parameters, of up
to `MAX_REQUEST_BYTES`, in base64.
"""
LONGEST_QUEUE = 120.0
"""Seconds of a read's wait for its turn to connect, at its agent, that do not count in its timeout. It may end so much
after its deadline.
"""
MOST_TEXTS = 64
TextSizes = Annotated[list[tuple[Annotated[str, Meta(max_length=LONGEST_NAME)], Count]], Meta(max_length=MOST_TEXTS)]
"""Names and bytes of attached texts."""
MOST_RUNNING = 4096
"""Operations that one instance names: it has at most 1024 slots."""
MOST_TRUSTED = 8
"""Keys of policy that an agent names."""
MOST_LISTINGS = 16
ReceiptOutcome = Literal["succeeded", "failed", "cancelled", "unknown"]


class Receipt(
    Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.receipt.v1"
):
    """The agent's signed report. `output` and `state` hold public fields only. `output_digest` covers the full output
    as it was first sent: its JSON, or that of {texts, values}, with name, bytes and SHA-256 of each attached
    text.

    `effect`: `none` (nothing was changed), `done`, or `maybe`. `certain` false with `cancelled` never happens: the
    outcome is `unknown` then. `over`: no process of the operation runs any more. `grant_digest` is None without a
    grant; `claim_digest` names the claim.
    """

    operation_id: OperationId
    attempt: Attempt
    pool: PoolId
    instance: InstanceId
    grant_digest: Digest | None
    outcome: Extensible[ReceiptOutcome]
    code: Label
    message: Text
    output_digest: Digest
    output_bytes: Count
    output: Values = field(default_factory=dict)
    state: Values = field(default_factory=dict)
    effect: Extensible[Literal["none", "done", "maybe"]] = "maybe"
    duration_ms: Seconds = 0.0
    over: bool = True
    claim_digest: Digest | None = None


class ReceiptMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """On `writ.receipt.<pool>`: the receipt and the full output, which goes to the requester, not to the journal.

    `texts`: name and bytes (UTF-8) of each large text that is left out of `full_output`. They are attached to the
    JSON one after the other (`writ_contracts.attached_bytes`), if the claim's reply permitted it (`attaches`).
    """

    receipt: Signed
    principal: Label
    full_output: Values = field(default_factory=dict)
    texts: TextSizes = field(default_factory=list)


class Acknowledgement(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The reply to a receipt or report: stored (or no longer needed), so delete it; or an error.

    `unsettled`: the receipt is of a claim that ran nothing, and that may yet be granted. Send it again later.
    """

    stored: bool = False
    error: Failure | None = None
    unsettled: bool = False


class Heartbeat(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """On `writ.heartbeat.<pool>`, each third of a lease: the instance, its running operations, and its free slots."""

    pool: PoolId
    instance: InstanceId
    running: Annotated[list[OperationId], Meta(max_length=MOST_RUNNING)]
    free_slots: Count
    operations: Annotated[list[Label], Meta(max_length=MOST_OPERATIONS)]
    version: Label
    leaving: bool = False
    skew: Seconds | None = None
    """Seconds by which the host's clock is ahead of the NATS server's, where that is large enough to report."""
    plugins: PluginDigests = field(default_factory=dict)
    """All plugins that are installed there."""
    level: Count = 0
    """`writ_contracts.version.LEVEL` of its release."""
    trusts: Annotated[list[Label], Meta(max_length=MOST_TRUSTED)] = field(default_factory=list)
    """The public keys of policy whose grants it obeys."""
    people: Count | None = None
    """The number of the directory of people's credentials that it knows, 0 before the first; None without a people-key
    pinned.
    """
    started: Seconds = 0.0
    """When this process started, by its host's clock. One instance with two starts is two processes."""
    lacks: Annotated[list[HostLack], Meta(max_length=MOST_LACKS)] = field(default_factory=list)
    """What the hosts of `tested` lacked."""
    tested: Annotated[list[SurveyedTarget], Meta(max_length=MOST_SURVEYED)] = field(default_factory=list)
    """The targets whose last test by this agent is not older than `KNOWN_SECONDS`, the latest first."""


SIGNATURE_HEADER = "Writ-Signature"
"""Of an agent's reply to an executor: the signed `ReplyStatement` as JSON."""


class ReplyStatement(
    Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.reply.v1"
):
    """An agent's signed statement that its reply to this request is this one. `request` and `reply` are the SHA-256 of
    their bytes. A request has a random key or salt, so nobody can guess its parameters from the digest.
    """

    pool: PoolId
    instance: InstanceId
    request: Digest
    reply: Digest


ProbeVerdict = Extensible[Literal["took_effect", "no_effect", "unknown"]]


class ProbeFinding(
    Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.probe.v1"
):
    """An agent's signed finding whether an attempt of an operation took effect. `look_digest` names the read grant."""

    operation_id: OperationId
    operation: OperationName
    target: TargetId
    pool: PoolId
    instance: InstanceId
    look_digest: Digest
    attempt: Attempt
    verdict: ProbeVerdict


WAITS = "waits "
PULLS = "pulls "
"""The first words of messages about progress which say what the operation waits for."""


class Progress(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """On `writ.progress.<pool>`, at most two a second for each operation; relayed to its requester, never stored.

    Executors remember the latest one for some seconds: an agent repeats a wait that lasts.
    """

    operation_id: OperationId
    principal: Label
    message: Annotated[str, Meta(max_length=500)]
    silent: Annotated[str, Meta(max_length=200)] = ""
    """The name of the host or agent that does not reply, if the message reports that."""
    for_requester: bool = True
    """False: executors note it for queries, and do not relay it. Its requester has it, or needs none."""
    claimed: bool = True
    """False: its agent has not claimed the operation. Another one may have started it."""

    @property
    def is_wait(self) -> bool:
        """Return whether the operation waits for something, until the next message about it."""
        return bool(self.silent) or self.message.startswith((WAITS, PULLS))


SecurityKind = Literal[
    "forged_grant",
    "expired_grant",
    "replayed_grant",
    "mismatched_grant",
    "beyond_ceiling",
    "forged_look",
    "forged_cancel",
    "bad_signature",
    "forged_claim",
    "forged_receipt",
    "forged_listing",
    "forged_start",
    "broken_record",
    "unknown_principal",
    "key_mismatch",
    "replayed_statement",
    "permission_violation",
    "authentication_failed",
    "principal_disabled",
    "injected_reply",
    "path_escape",
    "host_key_changed",
    "wrong_peer",
    "host_set_aside",
    "flood",
    "file_refused",
    "version_refused",
    "version_lost",
    "report_refused",
    "journal_replaced",
    "file_ignored",
    "read_refused",
    "enrolment_refused",
    "people_refused",
    "forged_directory",
    "credential_copied",
    "key_copied",
    "events_removed",
    "newer_kind",
]
"""The closed list of kinds of security events."""
NO_VIOLATIONS: frozenset[SecurityKind] = frozenset(
    {"file_refused", "file_ignored", "read_refused", "path_escape", "principal_disabled"}
)
"""Kinds that correct components cause: a mistake in a file, a read that policy denies, a requested path that leads out
of the target's file roots, and a client of a disabled principal that tries to connect. They are recorded, and no metric
counts them as violations.
"""
VIOLATIONS: tuple[SecurityKind, ...] = tuple(kind for kind in get_args(SecurityKind) if kind not in NO_VIOLATIONS)


class SecurityReport(
    Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.security.v1"
):
    """An agent's signed report of an attack or a defect; detail holds no parameter values."""

    kind: Extensible[SecurityKind]
    pool: PoolId
    instance: InstanceId
    detail: Annotated[str, Meta(max_length=1000)]
    operation_id: OperationId | None = None
    principal: PrincipalId | None = None

    @property
    def recorded(self) -> tuple[SecurityKind, str]:
        """Return kind and detail as they are recorded: kinds are subjects, so one of a newer release stands in the
        detail.
        """
        return recorded_kind(self.kind, self.detail)


def recorded_kind(kind: str, detail: str) -> tuple[SecurityKind, str]:
    """Return the kind of a security event if this release knows it, else `newer_kind`, which names it."""
    if kind in get_args(SecurityKind):
        return cast(SecurityKind, kind), detail
    return "newer_kind", f"{kind}: {detail}"[:1000]


class ReportMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An agent's signed security report, on `writ.report.<pool>`."""

    report: Signed


class ReadRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """On `writ.agent.<pool>.look` (any agent of the pool): do this read-only action under the signed read grant."""

    look: Signed
    action: ReadAction
    parameters: dict[str, Any]
    look_key: Hex32
    attempt: int = 1
    """The attempt that a probe is about."""
    baseline: dict[str, Any] = field(default_factory=dict)
    timeout: float = 30.0
    shown: bool = True
    """For a preview: the journal may have its values; otherwise all of them are details."""


class BaselineNotice(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """On `writ.agent.<pool>.baseline`: policy allowed this operation, and `dispatched` follows. The agent may read the
    baseline already, under the read grant `look`.
    """

    operation_id: OperationId
    operation: Label
    target: Label
    parameters: dict[str, Any]
    """The public ones, as in `dispatched`."""
    look: Signed
    look_key: Hex32


class ReadReply(Struct, frozen=True, kw_only=True):
    """The result of a read.

    For a probe: `verdict`, and `finding`, the agent's signed ProbeFinding. For a listing: one signed Listing for each
    source of the read grant. For a target test: `visit`. For a preview: `preview`, an agent's signed Preview, with its
    `details`.
    """

    observed: Values = field(default_factory=dict, name="seen")
    verdict: ProbeVerdict = "unknown"
    finding: Signed | None = None
    listings: Annotated[list[Signed], Meta(max_length=MOST_LISTINGS)] = field(default_factory=list)
    visit: TargetReport | None = None
    preview: Signed | None = None
    details: PreviewDetails | None = None
    error: Failure | None = None


class CancelRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """On `writ.agent.<pool>.cancel.<instance>`: stop it; `decision` is policy's signed allow of an operation_cancel.

    `parameters_key` opens the decision's digest of `parameters`, whose `operation_id` must be this one.
    """

    operation_id: OperationId
    decision: Signed
    parameters: dict[str, Any]
    parameters_key: Hex32


class CancelReply(Struct, frozen=True, kw_only=True):
    """`stopped`: it has ended with a known outcome, its receipt follows. `not_confirmed`: the stop was sent, and a part
    may continue.
    """

    result: Extensible[Literal["stopped", "not_confirmed", "not_running"]] = "not_confirmed"
    error: Failure | None = None
