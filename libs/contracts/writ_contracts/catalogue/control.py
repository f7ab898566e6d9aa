"""Writ's own operations, on the target `writ`: carried out by an executor, decided and recorded like all others.

All but the reads need the principal's own signature. Cancelling one's own operation does not: the agent running it
knows its owner.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from msgspec import Meta, field

from writ_contracts.catalogue.grammar import Reason, TargetGlob, UnixTime, check_bytes
from writ_contracts.catalogue.sessions import SessionEnd, SessionOpen
from writ_contracts.catalogue.windows import WindowEnd, WindowRequest
from writ_contracts.ids import (
    TOKEN_PATTERN,
    CorrelationId,
    Digest,
    OperationId,
    OperationName,
    PrincipalId,
    PublicKey,
    TargetId,
)
from writ_contracts.inventory import Kind, Name, Role
from writ_contracts.operations import Operation, Risk
from writ_contracts.parameters import PUBLIC, SENSITIVE, Output, Parameters, Timeout

BACKENDS = ("writ",)
AUDIT_READ, BACKEND_TEST = "audit_read", "backend_test"
MAX_POLICY_BYTES = 1024 * 1024

ControlId = Annotated[str, Meta(pattern=TOKEN_PATTERN, description="the id of a stop or an emergency")]
Scope = Annotated[
    list[TargetGlob], Meta(min_length=1, max_length=256, description="the targets that it covers"), PUBLIC
]


class OperationCancel(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The operation to stop."""

    operation_id: Annotated[OperationId, PUBLIC]
    timeout: Annotated[Timeout, Meta(le=300)] = 30


class AuditRead(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The record to read: a trace, a search with its filters, security events, its reads, or policies."""

    query: Annotated[Literal["trace", "search", "policy", "security", "reads"], PUBLIC]
    operation_id: Annotated[OperationId | None, PUBLIC] = None
    correlation_id: Annotated[CorrelationId | None, PUBLIC] = None
    principal: Annotated[PrincipalId | None, PUBLIC] = None
    target: Annotated[TargetId | None, PUBLIC] = None
    timeout: Annotated[Timeout, Meta(le=60)] = 30


class BackendTest(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The target its agents test."""

    target: Annotated[TargetId, PUBLIC]
    timeout: Annotated[Timeout, Meta(le=60)] = 30


class ApprovalDecide(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A person's yes or no to one exact request, named by the digest of its decision."""

    operation_id: Annotated[OperationId, PUBLIC]
    decision_digest: Annotated[Digest, PUBLIC]
    verdict: Annotated[Literal["approve", "reject"], PUBLIC]
    comment: Annotated[str, Meta(max_length=1000), PUBLIC] = ""
    timeout: Annotated[Timeout, Meta(le=60)] = 30


class PolicyPublish(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole policy file, in force from now on. `replaces`: only if this version is still in force."""

    document: Annotated[str, Meta(min_length=1, max_length=MAX_POLICY_BYTES, description="YAML or JSON"), SENSITIVE]
    reason: Reason
    replaces: Annotated[Annotated[int, Meta(ge=0, le=1 << 53)] | None, PUBLIC] = None
    timeout: Annotated[Timeout, Meta(le=60)] = 30

    def __post_init__(self) -> None:
        check_bytes("document", self.document, MAX_POLICY_BYTES)


class PolicyRollback(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The earlier version to put in force again."""

    version: Annotated[int, Meta(ge=1, le=1 << 53), PUBLIC]
    reason: Reason
    timeout: Annotated[Timeout, Meta(le=60)] = 30


class EmergencyDeclare(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An emergency on these targets, with its reason and its end.

    Policy itself sets `declared_by`, the person, and `confirm_by`: the emergency lapses unless another person confirms
    it before (None: nobody else could).
    """

    scope: Scope
    reason: Reason
    until: Annotated[UnixTime, PUBLIC]
    declared_by: Annotated[PrincipalId | None, PUBLIC] = None
    confirm_by: Annotated[UnixTime | None, PUBLIC] = None
    timeout: Annotated[Timeout, Meta(le=60)] = 30


class EmergencyConfirm(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The emergency to confirm, as a second person, or to end."""

    emergency_id: Annotated[ControlId, PUBLIC]
    verdict: Annotated[Literal["confirm", "end"], PUBLIC] = "confirm"
    timeout: Annotated[Timeout, Meta(le=60)] = 30


class EmergencyReview(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sign-off of the operations of an emergency after its end; `reason` is the reviewer's finding."""

    emergency_id: Annotated[ControlId, PUBLIC]
    reason: Reason
    timeout: Annotated[Timeout, Meta(le=60)] = 30


class StopSet(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stop: no changing operation within its reach starts until `until`, or until it is lifted.

    Its reach: operations which fit scope (globs of targets), roles of targets, principals (with the agents acting for
    them) and operations, each as far as it is given.
    """

    reason: Reason
    scope: Scope = field(default_factory=lambda: ["*"])
    roles: Annotated[list[Role], Meta(max_length=8), PUBLIC] = field(default_factory=list)
    principals: Annotated[list[PrincipalId], Meta(max_length=256), PUBLIC] = field(default_factory=list)
    operations: Annotated[list[OperationName], Meta(max_length=256), PUBLIC] = field(default_factory=list)
    until: Annotated[UnixTime | None, PUBLIC] = None
    timeout: Annotated[Timeout, Meta(le=60)] = 30


class StopLift(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The stop to lift."""

    stop_id: Annotated[ControlId, PUBLIC]
    timeout: Annotated[Timeout, Meta(le=60)] = 30


class JournalArchive(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The range of the journal to remove: it is in a verified archive whose manifest has this digest.

    `control`: digest of all control events up to `last`, which must outlive the range (`writ_trust.digests.of_all`).
    """

    generation: Annotated[int, Meta(ge=1, le=1 << 53), PUBLIC]
    first: Annotated[int, Meta(ge=1, le=1 << 53), PUBLIC]
    last: Annotated[int, Meta(ge=1, le=1 << 53), PUBLIC]
    events: Annotated[int, Meta(ge=1, le=1 << 53), PUBLIC]
    digest: Annotated[Digest, PUBLIC]
    control: Annotated[Digest, PUBLIC]
    reason: Reason
    timeout: Annotated[Timeout, Meta(le=3600)] = 600

    def __post_init__(self) -> None:
        if self.last - self.first + 1 != self.events:
            raise ValueError("events must be the number of events from first to last")


class PrincipalManage(Parameters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The principal to add, change or remove, and its new values.

    Policy itself sets `replaces`: the entry of principals.yaml to be changed.
    """

    action: Annotated[
        Literal["add", "remove", "disable", "enable", "rotate", "set_roles", "set_acts_for"],
        PUBLIC,
    ]
    principal_id: Annotated[PrincipalId, PUBLIC]
    kind: Annotated[Kind | None, PUBLIC] = None
    key: Annotated[PublicKey | None, PUBLIC] = None
    roles: Annotated[Annotated[list[Name], Meta(max_length=64)] | None, PUBLIC] = None
    acts_for: Annotated[PrincipalId | None, PUBLIC] = None
    person: Annotated[PrincipalId | None, PUBLIC] = None
    replaces: Annotated[Annotated[str, Meta(max_length=100)], PUBLIC] = ""
    timeout: Annotated[Timeout, Meta(le=60)] = 30

    def __post_init__(self) -> None:
        names = ("kind", "key", "roles", "acts_for", "person")
        present = {name for name in names if getattr(self, name) is not None}
        needed, allowed = OF_ACTION[self.action]
        if missing := needed - present:
            raise ValueError(f"{self.action} needs {' and '.join(sorted(missing))}")
        if surplus := present - needed - allowed:
            raise ValueError(f"{self.action} takes no {' and no '.join(sorted(surplus))}")


OF_ACTION: Mapping[str, tuple[frozenset[str], frozenset[str]]] = MappingProxyType(
    {
        "add": (frozenset({"kind", "key"}), frozenset({"roles", "acts_for", "person"})),
        "rotate": (frozenset({"key"}), frozenset()),
        "set_roles": (frozenset({"roles"}), frozenset()),
        "set_acts_for": (frozenset(), frozenset({"acts_for"})),
        **dict.fromkeys(("remove", "disable", "enable"), (frozenset(), frozenset())),
    }
)
"""The values that an action of `principal_manage` needs, and those that it may have."""


class CancelResult(Output, frozen=True, kw_only=True):
    """`stopped`, `cancelled` before it began, `ended` or `running` where nothing could be cancelled.

    A cancel without a visible effect is `unknown`, code `not_confirmed`.
    """

    operation_id: Annotated[str, PUBLIC] = ""
    result: Annotated[str, PUBLIC] = ""
    state: Annotated[str, PUBLIC] = ""


class ControlResult(Output, frozen=True, kw_only=True):
    """The id of the new stop or emergency, and the control sequence from which on every decision includes it."""

    id: Annotated[str, PUBLIC] = ""
    sequence: Annotated[int, PUBLIC] = 0


class StopResult(Output, frozen=True, kw_only=True):
    """The stop's id, and the operations within its reach started before: they go on unless cancelled."""

    id: Annotated[str, PUBLIC] = ""
    sequence: Annotated[int, PUBLIC] = 0
    running: Annotated[list[str], PUBLIC] = field(default_factory=list)
    more: Annotated[int, PUBLIC] = 0
    """How many of them are not listed."""


class PrincipalChangeResult(Output, frozen=True, kw_only=True):
    """The change's id and control sequence; operations of the principal which it ended, and those still running."""

    id: Annotated[str, PUBLIC] = ""
    sequence: Annotated[int, PUBLIC] = 0
    ended: Annotated[list[str], PUBLIC] = field(default_factory=list)
    running: Annotated[list[str], PUBLIC] = field(default_factory=list)
    more: Annotated[int, PUBLIC] = 0
    """How many of both are not listed."""


class PublishedVersion(Output, frozen=True, kw_only=True):
    """The stored version, and the control sequence from which on every decision is made by it."""

    id: Annotated[str, PUBLIC] = ""
    sequence: Annotated[int, PUBLIC] = 0
    version: Annotated[int, PUBLIC] = 0


class ArchivedRange(Output, frozen=True, kw_only=True):
    """The archived generation, and the number of its operations whose id is still known."""

    id: Annotated[str, PUBLIC] = ""
    sequence: Annotated[int, PUBLIC] = 0
    generation: Annotated[int, PUBLIC] = 0
    kept: Annotated[int, PUBLIC] = 0


def _control(
    name: str, summary: str, parameters: type[Parameters], risk: Risk, *, output: type[Output] = ControlResult
) -> Operation:
    own_signature = risk is not Risk.READ
    return Operation(
        name=name,
        summary=summary,
        parameters=parameters,
        output=output,
        risk=risk,
        backends=BACKENDS,
        idempotent=True,
        control=True,
        own_signature=own_signature,
    )


OPERATIONS = (
    _control("operation_cancel", "Cancel an operation.", OperationCancel, Risk.CHANGE, output=CancelResult),
    _control(AUDIT_READ, "Read the record of another principal.", AuditRead, Risk.READ, output=Output),
    _control(BACKEND_TEST, "Test a target by its own agents.", BackendTest, Risk.READ, output=Output),
    _control("approval_decide", "Approve or reject a request that needs an approval.", ApprovalDecide, Risk.CHANGE),
    _control(
        "policy_publish",
        "Publish a policy, which puts it in force.",
        PolicyPublish,
        Risk.ADMIN,
        output=PublishedVersion,
    ),
    _control(
        "policy_rollback",
        "Put an earlier version of the policy in force again.",
        PolicyRollback,
        Risk.ADMIN,
        output=PublishedVersion,
    ),
    _control("emergency_declare", "Declare an emergency.", EmergencyDeclare, Risk.CHANGE),
    _control("emergency_confirm", "Confirm or end an emergency.", EmergencyConfirm, Risk.CHANGE),
    _control("emergency_review", "Sign off what was done in an emergency that is over.", EmergencyReview, Risk.CHANGE),
    _control("stop_set", "Set a stop: no change within its reach starts.", StopSet, Risk.CHANGE, output=StopResult),
    _control("window_request", "Request an approval window for later operations.", WindowRequest, Risk.CHANGE),
    _control("window_end", "End an approval window before its time.", WindowEnd, Risk.CHANGE),
    _control("session_open", "Open a session: a short-lived key that acts as its principal.", SessionOpen, Risk.CHANGE),
    _control("session_end", "End a session before its time.", SessionEnd, Risk.CHANGE),
    _control("stop_lift", "Lift a stop: operations within its reach can start again.", StopLift, Risk.ADMIN),
    _control(
        "journal_archive",
        "Remove a range of events from the journal that an archive has.",
        JournalArchive,
        Risk.ADMIN,
        output=ArchivedRange,
    ),
    _control(
        "principal_manage",
        "Add, change or remove a principal.",
        PrincipalManage,
        Risk.ADMIN,
        output=PrincipalChangeResult,
    ),
)
FOR_PEOPLE = tuple(one.name for one in OPERATIONS if one.risk is not Risk.READ and one.name != "operation_cancel")
"""Control operations that no gateway may request for an AI agent."""
