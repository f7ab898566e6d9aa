"""Requests to policy. Replies are checked here: an operation goes on only if policy signed for this very question."""

import time
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar, get_args

from msgspec import Raw, Struct, field, structs

from writ_bus.errors import BusRefused
from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.decisions import (
    LARGE_REQUEST,
    OMIT_HEADER,
    OMIT_UNCHANGED,
    DecideReply,
    DecideRequest,
    Decision,
    Effect,
    Grant,
    GrantReply,
    GrantRequest,
    Subject,
)
from writ_contracts.errors import Invalid, TimedOut, Unreachable, Untrusted
from writ_contracts.large_texts import large_texts, without_large_texts
from writ_contracts.people.approvals import SignedApproval
from writ_contracts.people.credentials import KEY
from writ_contracts.people.directory import PeopleReply, PeopleRequest
from writ_contracts.people.previews import ApprovalFacts
from writ_contracts.policy.listing import VisibleReply, VisibleRequest
from writ_contracts.signing import Signed
from writ_contracts.wire import decode, encode
from writ_executor.agents.presence import AgentPresence
from writ_executor.journal.large_parameters import LargeParameters
from writ_executor.metrics import ExecutorMeasures
from writ_executor.policy.answers import Answered, retry_while_behind
from writ_executor.policy.effective_parameters import EffectiveParameters
from writ_executor.policy.listings import ListingRequests
from writ_trust.statements import digest, open_signed, read

TIMEOUT = 4.0
"""Less than agents wait for a reply to their claim: if policy is silent, they get an error in time."""
CHECK_TIMEOUT = 75.0
"""More than policy takes to check a proposed document, or to say that it takes too long; less than clients wait."""
CHECKED = frozenset({"policy_publish", "policy_rollback"})
WithFacts = TypeVar("WithFacts", DecideReply, GrantReply)
REMEMBERED = 60.0
NOTHING_WRITTEN: Mapping[str, Raw] = MappingProxyType({})
TEXTS_NEEDED = "texts_needed"
"""The code of a replica that needs the large texts: it has to read one, or does not have them."""


class CheckedDecision(Struct, frozen=True, kw_only=True):
    """A verified decision with its signed form, effective parameters and grants."""

    decision: Decision
    signed: Signed
    effective: dict[str, object]
    look: Signed | None = None
    look_key: str = ""
    grant: Signed | None = None
    grant_body: Grant | None = None
    approvals: list[SignedApproval] = field(default_factory=list)


class PolicyClient:
    """Decisions and grants from any replica with this executor's control events.

    If policy needs facts of the target, they are gathered and the request is sent again.
    """

    def __init__(
        self,
        bus: Bus,
        policy_keys: Collection[str],
        installation: str,
        presence: AgentPresence,
        measures: ExecutorMeasures,
    ) -> None:
        self._bus = bus
        self._trusted = policy_keys
        self._installation = installation
        self._listings = ListingRequests(bus, policy_keys, installation, presence, measures)
        self._measures = measures
        self._silent: tuple[float, str] | None = None
        self._people: Signed | None = None
        self._effective = EffectiveParameters()
        self._texts_needed = -REMEMBERED
        """When policy last had to read a text that was left out."""

    def problem(self) -> str | None:
        """Return a reason for attention if policy did not answer the last question, within the last minute."""
        if self._silent is None or time.monotonic() > self._silent[0] + REMEMBERED:
            return None
        return f"policy does not answer: {self._silent[1]}"

    def approval_facts(self, signed: Signed) -> ApprovalFacts:
        """Return the facts on one reader's card, signed by policy. Raises Untrusted."""
        return open_signed(signed, ApprovalFacts, self._trusted, self._installation)

    async def decide(
        self, request: DecideRequest, texts: LargeParameters | None = None, by_digest: Collection[str] = ()
    ) -> CheckedDecision:
        """Return the decision. `texts`: the large ones of the parameters. `by_digest`: those that policy may decide
        without, where it can.

        Raises Invalid (in policy's judgement), Unreachable, TimedOut, Untrusted.
        """
        with self._measures.stage("decide", "", request.subject.operation_id):
            reply = await self._request_decision(request, texts, by_digest)
        if reply.decision is None:
            raise Untrusted("policy's reply has no decision")
        decision = self._check(reply.decision, request.subject)
        effective = self._effective.contained(decision, reply.effective, request.subject)
        if decision.effect == "deny":
            self._effective.drop(request.subject)
        return CheckedDecision(
            decision=decision,
            signed=reply.decision,
            effective=effective,
            look=_preflight_grant(reply),
            look_key=request.look_key or "",
        )

    def leaves_out_texts(self) -> bool:
        """Return whether policy is asked to decide without large texts: it has not had to read one of late."""
        return time.monotonic() >= self._texts_needed + REMEMBERED

    def expect(self, subject: Subject, effective: Mapping[str, object], texts: LargeParameters) -> None:
        """Compute what is needed to check a decision on these effective parameters, before it is here."""
        self._effective.expect(subject, effective, texts)

    async def grant(self, request: GrantRequest, decided: str = "", by_digest: Collection[str] = ()) -> CheckedDecision:
        """Return the decision, with a grant if it allows; the journal has the start by then. `decided`: the digest of
        the parameters in the first decision, by which policy finds their large texts again. `by_digest`: the texts that
        it decided without.

        Raises as `decide` does, Untrusted for a refused claim, Conflict if the operation has moved on. After TimedOut
        it may have started.
        """
        with self._measures.stage("grant", "", request.subject.operation_id):
            reply = await self._request_grant(request, decided, by_digest)
        if reply.decision is None:
            raise Untrusted("policy's reply has no decision")
        body, effective = None, reply.effective
        if reply.grant is None:
            decision = self._check(reply.decision, request.subject)
        else:
            body = open_signed(reply.grant, Grant, self._trusted, self._installation)
            decision = _bound_decision(body, reply.decision, request)
            effective = self._effective.contained(decision, reply.effective, request.subject)
            self._effective.drop(request.subject)
        return CheckedDecision(
            decision=decision,
            signed=reply.decision,
            effective=effective,
            grant=reply.grant,
            grant_body=body,
            approvals=reply.approvals,
        )

    async def people(self, grant: Grant) -> Signed | None:
        """Return the directory by which an agent verifies the approvals of a grant; None where it needs none.

        Raises as `decide` does.
        """
        named = grant.people
        if named is None or not any(one != KEY for one in grant.proven):
            return None
        if self._people is not None and digest(self._people) == named.digest:
            return self._people
        data = encode(PeopleRequest(number=named.number))

        async def send() -> PeopleReply:
            return decode((await self._bus.request(subjects.POLICY_PEOPLE, data, timeout=TIMEOUT)).data, PeopleReply)

        reply = await retry_while_behind(send)
        self._people = None if reply.directory is None else reply.directory.detached()
        return self._people

    async def visible(self, principal: str, key: str, targets: Sequence[str], timeout: float = TIMEOUT) -> VisibleReply:
        """Return which of the targets the principal may list, with the operations on each. Raises as `decide` does."""
        data = encode(VisibleRequest(principal=principal, key=key, targets=list(targets)))

        async def send() -> VisibleReply:
            return decode((await self._bus.request(subjects.POLICY_VISIBLE, data, timeout=timeout)).data, VisibleReply)

        return await retry_while_behind(send)

    async def _request_decision(
        self, request: DecideRequest, texts: LargeParameters | None, by_digest: Collection[str]
    ) -> DecideReply:
        if texts and by_digest and self.leaves_out_texts():
            subject = self._effective.left_out(request.subject, by_digest, texts.digests)
            shorter = structs.replace(request, subject=subject)
            try:
                return await self._send_with_facts(subjects.POLICY_DECIDE, shorter, DecideReply)
            except Invalid as error:
                if error.code != TEXTS_NEEDED:
                    raise
                self._texts_needed = time.monotonic()
        if texts:
            texts.check_size(keep=True)
        written = texts.written if texts else NOTHING_WRITTEN
        return await self._send_with_facts(subjects.POLICY_DECIDE, request, DecideReply, written)

    async def _request_grant(self, request: GrantRequest, decided: str, by_digest: Collection[str]) -> GrantReply:
        """Send the question without its large texts, which policy decided without, or has from its decision; with them
        if it needs them.
        """
        shorter = request
        if by_digest:
            shorter = structs.replace(request, subject=self._effective.left_out(request.subject, by_digest))
        elif decided and large_texts(request.subject.parameters):
            left = without_large_texts(request.subject.parameters)
            shorter = structs.replace(request, subject=structs.replace(request.subject, parameters=left), kept=decided)
        try:
            return await self._send_with_facts(subjects.POLICY_GRANT, shorter, GrantReply)
        except Invalid as error:
            if shorter is request or error.code != TEXTS_NEEDED:
                raise
        return await self._send_with_facts(subjects.POLICY_GRANT, request, GrantReply)

    async def _send_with_facts(
        self,
        subject: str,
        request: DecideRequest | GrantRequest,
        kind: type[WithFacts],
        written: Mapping[str, Raw] = NOTHING_WRITTEN,
    ) -> WithFacts:
        """Return the reply on all available facts. There is no third request.

        Gathering takes time, and a stop counts once it is stored: the second request names the latest control event.
        """
        reply = await self._send_when_current(subject, request, kind, written)
        if not reply.needs or reply.look is None or request.look_key is None:
            return reply
        facts = await self._listings.gather(reply.look, request.look_key)
        control = await self._bus.journal.last(subjects.CONTROL)
        control_sequence = max(request.control_sequence, control.sequence if control else 0)
        return await self._send_when_current(
            subject, structs.replace(request, facts=facts, control_sequence=control_sequence), kind, written
        )

    async def _send_when_current(
        self, subject: str, request: DecideRequest | GrantRequest, kind: type[Answered], written: Mapping[str, Raw]
    ) -> Answered:
        data = encode(_with_written(request, written))
        large = len(data) > LARGE_REQUEST or (isinstance(request, GrantRequest) and request.kept is not None)
        headers = {OMIT_HEADER: OMIT_UNCHANGED} if large else None
        timeout = CHECK_TIMEOUT if request.subject.operation in CHECKED else TIMEOUT

        async def send() -> Answered:
            try:
                reply = await self._bus.request(subject, data, timeout=timeout, headers=headers)
            except (TimedOut, Unreachable) as error:
                self._silent = (time.monotonic(), str(error))
                raise
            except BusRefused as error:
                if error.code != "oversize":
                    raise
                raise Invalid(f"too large for policy: {error}", code=error.code) from error
            self._silent = None
            return decode(reply.data, kind)

        return await retry_while_behind(send)

    def _check(self, signed: Signed, subject: Subject) -> Decision:
        decision = open_signed(signed, Decision, self._trusted, self._installation)
        _check_about(decision, subject)
        return decision


EFFECTS = get_args(Effect)


def _with_written(request: DecideRequest | GrantRequest, written: Mapping[str, Raw]) -> DecideRequest | GrantRequest:
    """Return the request with large texts that are JSON already."""
    if not written:
        return request
    parameters = {**request.subject.parameters, **written}
    return structs.replace(request, subject=structs.replace(request.subject, parameters=parameters))


def _preflight_grant(reply: DecideReply) -> Signed | None:
    """Return the requested read grant; None if the reply's grant is for listings."""
    return None if reply.needs else reply.look


def _bound_decision(grant: Grant, signed: Signed, request: GrantRequest) -> Decision:
    """Return the decision named by the grant's digest, so one signature holds for both."""
    if grant.operation_id != request.subject.operation_id or grant.claim_digest != digest(request.claim):
        raise Untrusted("policy's grant is for another claim")
    if grant.decision_digest != digest(signed):
        raise Untrusted("policy's grant is for another decision")
    decision = read(signed, Decision)
    _check_about(decision, request.subject)
    if grant.parameters_digest != decision.parameters_digest:
        raise Untrusted("policy's grant is for other parameters than its decision")
    return decision


def _check_about(decision: Decision, subject: Subject) -> None:
    about = (decision.operation_id, decision.principal, decision.operation, decision.target)
    if about != (subject.operation_id, subject.principal, subject.operation, subject.target):
        raise Untrusted("policy's decision is for another request")
    if decision.effect not in EFFECTS:
        raise Invalid(f"policy decided {decision.effect}, which this executor does not know: upgrade it")
