"""The card of a pending operation, rendered only from bytes hashed here and from verified statements.

Other claims of the services are marked as theirs. Pure: the inputs are policy's answer and the keys trusted by the
client.
"""

import re
from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any

from msgspec import Struct, field

from writ_contracts.decisions import Decision
from writ_contracts.errors import Invalid, Untrusted
from writ_contracts.journal import Requested
from writ_contracts.people.approvals import Approval, ApprovalCard, DecisionDemand, SignedApproval, short_digest
from writ_contracts.people.credentials import Proof
from writ_contracts.people.previews import ApprovalFacts, Preview, PreviewDetails
from writ_contracts.requests import RequestStatement
from writ_contracts.signing import Signed
from writ_contracts.wire import canonical, decode
from writ_trust.approvals import read_approval, verify_own
from writ_trust.digests import keyed_digest, same
from writ_trust.statements import digest, open_signed, read

_BINARY = re.compile(r"^binary: ", re.MULTILINE)
"""The line by which agents replace the diff of content that is no text. No line of a diff begins so."""


class CardPreview(Struct, frozen=True, kw_only=True):
    """The preview of an agent for whose key policy vouches, its digest, and its details once they were verified."""

    body: Preview
    digest: str
    details: Mapping[str, Any] | None = None

    @property
    def whole(self) -> bool:
        """Return whether it shows everything, and its details are here."""
        return self.body.complete and (self.body.details_digest is None or self.details is not None)

    @property
    def shows_hidden(self) -> bool:
        """Return true if it shows the effect of hidden parameters. Only a diff does: the other fields are for the
        journal, so backends leave such values out of them. One zero byte makes a script binary, of which a diff shows
        nothing.
        """
        return self.whole and "diff" in (self.details or {}) and not _BINARY.search(self.diff)

    @property
    def diff(self) -> str:
        """Return the diff, if it has one."""
        return str((self.details or {}).get("diff", ""))


class Card(Struct, frozen=True, kw_only=True):
    """The facts on which an approver decides. `unverified` lists facts without a signature; `refusals` the reasons
    against an approval, which do not prevent a rejection.
    """

    requested: Requested
    decision: Decision
    digest: str
    decision_digest: str
    state: str
    until: float
    step: str
    waits_for: str
    remaining: int
    able: list[str]
    approvals: list[Approval]
    proof: Proof = "key"
    """What an approval must prove, as policy says."""
    preview: CardPreview | None = None
    facts: ApprovalFacts | None = None
    signed_facts: Signed | None = None
    warning: str = ""
    """Why it would not start now, though approved, as policy says."""
    unverified: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    @property
    def short(self) -> str:
        """The digest as people compare it."""
        return short_digest(self.digest)

    @property
    def unseen(self) -> list[str]:
        """Return the parameters whose values the card does not have."""
        return unseen(self.requested)

    @property
    def demands(self) -> list[DecisionDemand]:
        """Return the demands of the signed decision."""
        return self.decision.demands

    @property
    def reason_is_signed(self) -> bool:
        """Return whether the requester signed the reason. Otherwise an executor may have written it."""
        statement = self.requested.statement if self.decision.statement_digest is not None else None
        return statement is not None and read(statement, RequestStatement).reason == self.requested.reason

    @property
    def sentence(self) -> str:
        """The operation in one sentence, from the signed decision."""
        decision = self.decision
        behalf = f" for {decision.acts_for}" if decision.acts_for else ""
        return f"{decision.principal}{behalf} requests {decision.operation} on {decision.target}"


def open_card(
    answer: ApprovalCard,
    policy_keys: Collection[str],
    hidden: Mapping[str, Any] | None = None,
    installation: str = "",
    details: PreviewDetails | None = None,
) -> Card:
    """Return the card, checked. Raises Untrusted where a signature is bad or bytes contradict a signed statement.

    `policy_keys`: policy's public keys, from a place of one's own; without any, nothing of the card is verified.
    `hidden`: values of parameters kept out of the journal, as given to the approver by the requester; they are checked
    against the requester's signature, and count for nothing without one. `details`: those of its preview, which commits
    to them.
    """
    requested = _requested(answer.requested)
    decision, unverified = _decision(requested, policy_keys, installation)
    unverified += _check_bound(requested, decision)
    unverified += _statement(requested, decision, hidden, installation)
    facts = _facts(answer, decision, policy_keys, installation)
    preview = _preview(answer, facts, details, installation)
    if answer.preview is not None and preview is None:
        unverified.append("the preview: policy does not vouch for the agent that signed it")
    return Card(
        requested=requested,
        decision=decision,
        digest=sha256(answer.requested).hexdigest(),
        decision_digest=digest(requested.decision),
        state=answer.state,
        until=answer.until,
        step=answer.step,
        waits_for=answer.waits_for,
        remaining=answer.remaining,
        able=answer.able,
        proof=answer.proof,
        approvals=[_opened(one, installation) for one in answer.approvals],
        preview=preview,
        facts=facts,
        signed_facts=answer.facts,
        warning=answer.warning,
        unverified=unverified,
        refusals=[
            *_lacks_of_preview(facts, preview),
            *_refusals(requested, hidden or {}, preview, signed=decision.statement_digest is not None),
        ],
    )


def unseen(requested: Requested) -> list[str]:
    """Return the hidden parameters without an effective value. At audit level minimal those of a change have one, for
    the reads before it, and policy signed its digest.
    """
    return [name for name in requested.hidden if name not in requested.effective]


def _requested(data: bytes) -> Requested:
    try:
        return decode(data, Requested)
    except Invalid as error:
        raise Untrusted(f"the reply has no valid request: {error}") from error


def _decision(requested: Requested, policy_keys: Collection[str], installation: str) -> tuple[Decision, list[str]]:
    if policy_keys:
        return open_signed(requested.decision, Decision, policy_keys, installation), []
    return read(requested.decision, Decision), ["policy's signature: its public key is not known here"]


def _check_bound(requested: Requested, decision: Decision) -> list[str]:
    """Return the facts that the decision does not bind. Raises Untrusted unless it is on the shown request."""
    pairs = {
        "operation id": (decision.operation_id, requested.operation_id),
        "principal": (decision.principal, requested.principal),
        "operation": (decision.operation, requested.operation),
        "target": (decision.target, requested.target),
        "acts_for": (decision.acts_for, requested.acts_for),
        "dry run": (decision.dry_run, requested.dry_run),
    }
    # Policy signs this digest for approvers alone: a decision that demands no approval has none.
    undigested = decision.public_digest is None and not decision.demands
    if requested.effective and not undigested:  # an audit level may keep none: see _refusals
        pairs["effective parameters"] = (decision.public_digest, sha256(canonical(requested.effective)).hexdigest())
    if different := [name for name, (signed, shown) in pairs.items() if signed != shown]:
        raise Untrusted(f"the request differs from policy's signed decision in {', '.join(different)}")
    if requested.effective and undigested:
        return ["the parameters with defaults: policy signs them only where it demands an approval"]
    return []


def identified(decision: Decision) -> str:
    """Return who identified the requester, and by what, of a request without a signature."""
    if decision.authenticated == "gateway":
        return "the gateway identified the requester, by a token"
    if decision.authenticated == "server":
        return "the NATS server identified the requester, by its key"
    return "something newer than this program identified the requester"


def _statement(
    requested: Requested, decision: Decision, hidden: Mapping[str, Any] | None, installation: str
) -> list[str]:
    """Return the facts the requester did not sign. Raises Untrusted where the signed statement differs from the
    request.
    """
    if requested.statement is None or decision.statement_digest is None:
        return [f"the requester's signature: only {identified(decision)}, and policy recorded it"]
    if decision.statement_digest != digest(requested.statement):
        raise Untrusted("policy decided on another statement of the requester")
    signed = open_signed(requested.statement, RequestStatement, (requested.statement.key,), installation)
    about = (signed.principal, signed.operation, signed.target)
    if about != (requested.principal, requested.operation, requested.target):
        raise Untrusted("the requester signed another request")
    if signed.reason not in (None, requested.reason):
        raise Untrusted("the requester signed another reason")
    lacks = ["the reason: the requester did not sign it"] if requested.reason and signed.reason is None else []
    if requested.hidden and hidden is None:
        return lacks
    recorded = {name: requested.effective[name] for name in requested.hidden if name in requested.effective}
    parameters = {**requested.parameters, **recorded, **(hidden or {})}
    if not same(signed.parameters_digest, keyed_digest(requested.salt or "", parameters)):
        raise Untrusted("the requester signed other parameters than these")
    return lacks


def _facts(
    answer: ApprovalCard, decision: Decision, policy_keys: Collection[str], installation: str
) -> ApprovalFacts | None:
    """Return the facts signed by policy besides its decision; None from a policy which signs no such facts."""
    if answer.facts is None:
        return None
    facts = (
        open_signed(answer.facts, ApprovalFacts, policy_keys, installation)
        if policy_keys
        else read(answer.facts, ApprovalFacts)
    )
    if (facts.operation_id, facts.requested) != (decision.operation_id, sha256(answer.requested).hexdigest()):
        raise Untrusted("policy's facts are for another request")
    return facts


def _preview(
    answer: ApprovalCard, facts: ApprovalFacts | None, details: PreviewDetails | None, installation: str
) -> CardPreview | None:
    """Return the preview, if policy vouches for it and the agent's signature holds here too."""
    if answer.preview is None or facts is None or facts.preview != digest(answer.preview):
        return None
    body = open_signed(answer.preview, Preview, (facts.preview_key,), installation)
    if body.operation_id != facts.operation_id:
        raise Untrusted("the preview is of another operation")
    values = None
    if details is not None and body.details_digest is not None:
        if not same(body.details_digest, keyed_digest(details.salt, details.values)):
            raise Untrusted("the details are not those of the signed preview")
        values = details.values
    return CardPreview(body=body, digest=digest(answer.preview), details=values)


def _lacks_of_preview(facts: ApprovalFacts | None, preview: CardPreview | None) -> list[str]:
    """Return the missing parts of the preview. They permit a rejection only."""
    if facts is None:
        return ["policy signed no facts about its preview"]
    if not facts.previews:
        return []
    if preview is None:
        return ["there is no preview by the target's agent yet"]
    if not preview.body.complete:
        return [f"the preview is incomplete: {preview.body.note}"]
    return [] if preview.whole else ["the details of the preview cannot be read"]


def _refusals(
    requested: Requested, hidden: Mapping[str, Any], preview: CardPreview | None, *, signed: bool
) -> list[str]:
    """An approval must rest on a visible effect: only a diff shows the effect of hidden parameters. Without the
    requester's signature, the values given to an approver cannot be compared with the request.
    """
    if preview is not None and preview.shows_hidden:
        return []
    if not signed:
        absent = unseen(requested) or ([] if requested.effective else ["what it is about"])
        return [f"{', '.join(absent)} is hidden, and the requester did not sign it"] if absent else []
    missing = [name for name in unseen(requested) if name not in hidden]
    if not missing:
        return []
    return [f"{', '.join(missing)} is hidden: reject it, or approve it with the values that the requester gives"]


def _opened(signed: SignedApproval, installation: str) -> Approval:
    """Return the approval's own claim; the credential of a security key or passkey is not known here."""
    if signed.evidence.__struct_config__.tag == "key":
        return verify_own(signed, installation)
    return read_approval(signed)
