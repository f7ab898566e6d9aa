"""Approvals: the demand of a decision, the statement a person signs, and the messages around both.

A person's approval or rejection goes to policy (`writ.approval.<principal>`), which verifies and records it. No
executor stands between, so none can drop a rejection and let another person's approval win.
"""

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct, field, structs

from writ_contracts.bounds import Count, Seconds
from writ_contracts.extensible import Extensible
from writ_contracts.ids import TOKEN_PATTERN, Digest, Hex32, OperationId, OperationPrefix, PrincipalId
from writ_contracts.people.credentials import KEY, Evidence, Presence, Proof
from writ_contracts.requests import LONGEST_REASON, Failure
from writ_contracts.signing import Signed, Statement

ApprovalVerdict = Literal["approve", "reject"]
MOST_PEOPLE = 20
"""People that a step of a signed demand names; more may be entitled."""
MOST_PENDING = 50
"""Pending operations on one page."""
Name = Annotated[str, Meta(max_length=255)]


class DecisionStep(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`quorum` different people, each with one of these roles. `people`: the possible approvers when it was decided."""

    roles: list[Name]
    quorum: int = 1
    people: list[PrincipalId] = field(default_factory=list)


class DecisionDemand(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The approvals demanded by a rule: its steps in order, within `seconds` of the request, each with this proof."""

    rule: str
    steps: list[DecisionStep]
    seconds: int
    proof: Extensible[Proof] = "key"
    attested: bool = False
    """Only by credentials whose maker vouches for the device."""

    @property
    def presence(self) -> Presence:
        """The presence each approver must prove."""
        return Presence(self.proof, self.attested)


class SignedApproval(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A signed Approval. `payload` is its canonical JSON, verified as received.

    `credential`: id of the credential, for an nkey its public key. It signs `writ/approval/v1`, a zero byte and the
    payload. `evidence`: the signature by this credential.
    """

    payload: Raw
    credential: Annotated[str, Meta(pattern=TOKEN_PATTERN)]
    evidence: Evidence

    def detached(self) -> "SignedApproval":
        """Return a copy which does not keep the received message in memory."""
        return structs.replace(self, payload=self.payload.copy())


class Approval(
    Statement, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="writ.approval.v1"
):
    """A person's signed verdict on one exact request.

    `requested`: SHA-256 of the exact bytes of the `requested` event. It covers operation, target, parameters, principal
    and decision. `preview`: digest of the signed preview shown to the approver, if any. `step`: the open step of the
    demand as the approver saw it, `<rule>#<number from 1>`.
    """

    operation_id: OperationId
    requested: Digest
    decision_digest: Digest
    step: Annotated[str, Meta(min_length=1, max_length=300)]
    verdict: ApprovalVerdict
    approver: PrincipalId
    issued_at: Seconds
    nonce: Hex32
    proof: Proof = "key"
    reason: Annotated[str, Meta(max_length=LONGEST_REASON)] = ""
    preview: Digest | None = None


class ApprovalMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """On `writ.approval.<principal>`: the verdict. `principal` requested the operation, and only locates it."""

    principal: PrincipalId
    approval: SignedApproval


class ApprovalReply(Struct, frozen=True, kw_only=True):
    """The verdict is on record, and `state` is the operation's after it: `approved`, `rejected`, or
    `awaiting_approval` while `remaining` more approvals are needed. Or the error, and nothing was recorded.
    """

    operation_id: OperationId | None = None
    state: str = ""
    remaining: int = 0
    error: Failure | None = None


class ApprovalsQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Query the pending operations the caller may approve or reject (`….approvals`). `after`: the `sequence` of the
    last one on the page before. `begins_with`: query `ids` instead, the operations whose ids begin so.
    """

    begins_with: OperationPrefix | None = None
    after: Count = 0
    limit: Annotated[int, Meta(ge=1, le=MOST_PENDING)] = MOST_PENDING


class PendingApproval(Struct, frozen=True, kw_only=True):
    """One pending operation, for a list. `digest` is SHA-256 of its `requested` event; `yours`: one's own turn now."""

    operation_id: OperationId
    principal: PrincipalId
    operation: str
    target: str
    sequence: int
    requested_at: float
    until: float
    digest: Digest
    yours: bool
    reason: str = ""
    acts_for: PrincipalId | None = None
    approvals: list[PrincipalId] = field(default_factory=list)
    waits_for: str = ""


class ApprovalsReply(Struct, frozen=True, kw_only=True):
    """The pending operations in the order of their requests. `more`: query again `after` the last `sequence`.

    `ids`: operations that begin so, the latest first, pending or decided, on which the caller's roles may decide.
    """

    pending: list[PendingApproval] = field(default_factory=list)
    more: bool = False
    last: int = 0
    ids: list[OperationId] = field(default_factory=list)
    error: Failure | None = None


class ApprovalQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Query one operation with everything its approver must see and verify (`….approval`)."""

    operation_id: OperationId


class ApprovalCard(Struct, frozen=True, kw_only=True):
    """`requested`: the exact bytes of the event, for its approver to hash and verify. `step`: the step for which the
    reader's approval would count now; empty if it would count for none. `remaining`: the number of approvals still
    needed. `preview`: signed by an agent; `facts`: policy's signed ApprovalFacts for the reader. `warning`: why it
    would not start now, though approved, or may not; empty where nothing is known.
    """

    principal: PrincipalId
    requested: bytes
    state: str
    until: float
    approvals: list[SignedApproval] = field(default_factory=list)
    step: str = ""
    waits_for: str = ""
    remaining: int = 0
    able: list[PrincipalId] = field(default_factory=list)
    proof: Extensible[Proof] = "key"
    """What one's own approval must prove now, and whether only an attested credential counts."""
    attested: bool = False
    preview: Signed | None = None
    facts: Signed | None = None
    warning: str = ""


class ApprovalCardReply(Struct, frozen=True, kw_only=True):
    """The card, or why not."""

    card: ApprovalCard | None = None
    error: Failure | None = None


class ApprovalEvent(Struct, frozen=True, kw_only=True):
    """On `writ.event.approval.<principal>`, sent at most once and unsigned: read the card, then decide.

    `kind`: `pending` (it needs an approval of yours or of somebody before you), `reminder` (it still does), `given`
    (one of several approvals), `approved`, `rejected`, `expired`, `cancelled`, `ended`; `passed_over`: it
    started without your approval, in an emergency.
    """

    kind: str
    operation_id: OperationId
    principal: PrincipalId
    operation: str
    target: str
    until: float = 0.0
    by: PrincipalId | None = None
    reason: str = ""


def demand_text(demand: DecisionDemand) -> str:
    """Return the demand in words: its steps and its time."""
    steps = ", then ".join(step_text(step) for step in demand.steps)
    proof = "" if demand.presence == KEY else f" by {demand.presence}"
    return f"{steps}{proof} {limit_text(demand.seconds)}"


def limit_text(seconds: int) -> str:
    """Return the time limit of a demand in words: whole minutes, or else seconds."""
    return f"within {seconds} s" if seconds % 60 else f"within {seconds // 60} min"


def step_text(step: DecisionStep) -> str:
    return f"{step.quorum if step.quorum > 1 else 'one'} of role {' or '.join(step.roles)}"


def seconds_of(demands: list[DecisionDemand]) -> int:
    """Return the seconds from the request in which all demands must be met; 0 without a demand."""
    return min((demand.seconds for demand in demands), default=0)


def can_be_met(demands: list[DecisionDemand]) -> bool:
    """Return true if each step had enough people when it was decided. No approver is not "anyone may"."""
    return all(len(step.people) >= min(step.quorum, MOST_PEOPLE) for demand in demands for step in demand.steps)


def approvers_of(demands: list[DecisionDemand]) -> list[str]:
    """Return the people named in the demands as possible approvers, sorted."""
    return sorted({who for demand in demands for step in demand.steps for who in step.people})


def short_digest(digest: str) -> str:
    """Return the first eight hexadecimal digits as `7f3a-91c2`: the same on every screen."""
    return f"{digest[:4]}-{digest[4:8]}"
