"""Approvals from Python: the pending operations the caller may decide on, and signed verdicts."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from typing import Any, Protocol

from msgspec import structs

from writ_bus.port import Bus, Message, Subscription
from writ_client.people.approval_card import Card, open_card
from writ_client.queries.service_calls import request_reply
from writ_client.refused_arguments import refuse_long_reason
from writ_contracts import subjects
from writ_contracts.errors import Denied, Invalid, WritError
from writ_contracts.failures import raise_for
from writ_contracts.people import approvals
from writ_contracts.people.credentials import Credential, Evidence, Proof
from writ_contracts.people.directory import PeopleDirectory, PeopleQuery, PeopleReply
from writ_contracts.people.previews import PreviewDetails, PreviewQuery, PreviewReply
from writ_contracts.wire import decode
from writ_trust.approvals import sign_approval, signed_bytes, with_evidence
from writ_trust.keys import Key
from writ_trust.people import read_enrolment
from writ_trust.statements import named, read


class Signer(Protocol):
    """A signer which proves a person's presence; `id` is the id of its credential."""

    @property
    def id(self) -> str:
        """The id of the credential."""

    async def sign(self, data: bytes) -> Evidence:
        """Return the evidence over exactly these bytes."""


SECONDS = 20.0
LARGEST_BACKLOG = 1024
PREVIEW_SECONDS, PREVIEW_PAUSE = 5.0, 0.1
"""How long a card waits for the preview of a request that was just made."""


class Approvals:
    """`writ.approvals`. Raises the errors of `writ_contracts.errors`."""

    def __init__(
        self,
        bus: Bus,
        key: Key | None,
        principal: str,
        clock: Callable[[], float],
        installation: str = "",
        policy_keys: Collection[str] = (),
    ) -> None:
        self._bus = bus
        self._key = key
        self._principal = principal
        self._clock = clock
        self._installation = installation or (key.installation if key else "")
        self._policy_keys = policy_keys

    async def pending(self, *, after: int = 0, limit: int = approvals.MOST_PENDING) -> approvals.ApprovalsReply:
        """Return a page of the operations the caller may decide on, now or after others."""
        question = approvals.ApprovalsQuery(after=after, limit=limit)
        answer: approvals.ApprovalsReply = await self._query("approvals", question, approvals.ApprovalsReply)
        raise_for(answer)
        return answer

    async def every_pending(self) -> list[approvals.PendingApproval]:
        """Return the pending approvals of all pages."""
        answer = await self.pending()
        found = list(answer.pending)
        while answer.more:
            answer = await self.pending(after=answer.last)
            found += answer.pending
        return found

    async def beginning_with(self, beginning: str) -> list[str]:
        """Return the ids of operations that begin so, pending or decided, on which the caller's roles may decide."""
        question = approvals.ApprovalsQuery(begins_with=beginning)
        answer: approvals.ApprovalsReply = await self._query("approvals", question, approvals.ApprovalsReply)
        raise_for(answer)
        return answer.ids

    async def card(
        self,
        operation_id: str,
        policy_keys: Collection[str] | None = None,
        hidden: Mapping[str, Any] | None = None,
    ) -> Card:
        """Return one operation, verified (`approval_card.open_card`). Raises Untrusted, Denied, Invalid (`not_found`).
        Wait for a preview under way, up to `PREVIEW_SECONDS`. `policy_keys`: None for those of the context.
        """
        policy_keys = self._policy_keys if policy_keys is None else policy_keys
        until = time.monotonic() + PREVIEW_SECONDS
        while True:
            answer = await self._card(operation_id)
            card = open_card(answer, policy_keys, hidden, self._installation)
            if not _lacks_preview(card) or time.monotonic() > until:
                break
            await asyncio.sleep(PREVIEW_PAUSE)
        if card.preview is None or card.preview.body.details_digest is None:
            return card
        details = await self._details(card)
        return card if details is None else open_card(answer, policy_keys, hidden, self._installation, details)

    async def _card(self, operation_id: str) -> approvals.ApprovalCard:
        question = approvals.ApprovalQuery(operation_id=operation_id)
        answer: approvals.ApprovalCardReply = await self._query("approval", question, approvals.ApprovalCardReply)
        raise_for(answer)
        if answer.card is None:
            raise WritError(f"a reply without operation {operation_id}")
        return answer.card

    async def _details(self, card: Card) -> PreviewDetails | None:
        """Return the details of its preview; None where they are no longer kept, or this person may not read them."""
        if card.signed_facts is None:
            return None
        try:
            answer: PreviewReply = await self._query("preview", PreviewQuery(facts=card.signed_facts), PreviewReply)
            raise_for(answer)
        except (Denied, Invalid):
            return None
        return answer.details

    async def approve(
        self, card: Card, *, reason: str = "", by: Signer | None = None, proof: Proof | None = None
    ) -> approvals.ApprovalReply:
        """Approve the operation on the card. `by`: the signer which proves the caller's presence, such as
        `ssh_keygen.read_ssh_key`; by default the caller's own nkey. `proof`: the presence stated in the approval, by
        default the one needed by the card. Raises Denied where it must not be approved, or not now.
        """
        if card.refusals:
            raise Denied("; ".join(card.refusals))
        return await self._decide(card, "approve", reason, by, proof)

    def challenge(self, card: Card, *, reason: str = "", proof: Proof | None = None) -> approvals.Approval:
        """Return the approval of the operation on the card, for a passkey to sign elsewhere (`signed_bytes` of
        `writ_trust.approvals`). It is valid for five minutes. Raises Denied where it must not be approved.
        """
        if card.refusals:
            raise Denied("; ".join(card.refusals))
        return self._statement(card, "approve", reason, proof or card.proof)

    async def approve_challenge(self, card: Card, challenge: approvals.Approval, by: Signer) -> approvals.ApprovalReply:
        """Approve the operation on the card by a signature over this challenge. Raises Invalid where the challenge is
        not about what the card shows.
        """
        present = self.challenge(card, reason=challenge.reason, proof=challenge.proof)
        if structs.replace(present, issued_at=challenge.issued_at, nonce=challenge.nonce) != challenge:
            raise Invalid("the challenge is about another request, preview or step than the card: make a new one")
        return await self._send(card, with_evidence(challenge, by.id, await by.sign(signed_bytes(challenge))))

    async def credentials(self) -> list[Credential]:
        """Return the credentials that count now, as the services answer: their signatures are not verified here."""
        signed = (await self.people()).directory
        entries = [] if signed is None else read(signed, PeopleDirectory).entries
        return [read_enrolment(one.enrolment).credential for one in entries if one.removed_at is None]

    async def reject(self, card: Card, *, reason: str = "") -> approvals.ApprovalReply:
        """Reject the operation on the card, which ends it."""
        return await self._decide(card, "reject", reason)

    async def people(self) -> PeopleReply:
        """Return the signed directory of people's credentials."""
        answer: PeopleReply = await self._query("people", PeopleQuery(), PeopleReply)
        raise_for(answer)
        return answer

    async def listen(self) -> AsyncGenerator[approvals.ApprovalEvent, None]:
        """Yield events, from now on, of operations the caller may decide on. Events may get lost: `pending` has all."""
        queue: asyncio.Queue[approvals.ApprovalEvent] = asyncio.Queue(LARGEST_BACKLOG)

        async def heard(message: Message) -> None:
            if not queue.full():
                queue.put_nowait(decode(message.data, approvals.ApprovalEvent))

        subscription = await self._bus.subscribe(subjects.approval_event(self._principal), heard)
        return _events(queue, subscription)

    async def _decide(
        self,
        card: Card,
        verdict: approvals.ApprovalVerdict,
        reason: str,
        by: Signer | None = None,
        proof: Proof | None = None,
    ) -> approvals.ApprovalReply:
        if self._key is None:
            raise Invalid("an approval needs a key to sign it with")
        refuse_long_reason(reason)
        statement = self._statement(card, verdict, reason, "key" if by is None else proof or card.proof)
        if by is None:
            return await self._send(card, sign_approval(self._key, statement))
        return await self._send(card, with_evidence(statement, by.id, await by.sign(signed_bytes(statement))))

    def _statement(
        self, card: Card, verdict: approvals.ApprovalVerdict, reason: str, proof: Proof
    ) -> approvals.Approval:
        statement = approvals.Approval(
            operation_id=card.requested.operation_id,
            requested=card.digest,
            decision_digest=card.decision_digest,
            step=card.step or "none",
            verdict=verdict,
            approver=self._principal,
            issued_at=self._clock(),
            nonce=secrets.token_hex(32),
            reason=reason,
            proof=proof,
            preview=card.preview.digest if card.preview else None,
        )
        return named(statement, self._installation)

    async def _send(self, card: Card, signed: approvals.SignedApproval) -> approvals.ApprovalReply:
        message = approvals.ApprovalMessage(principal=card.requested.principal, approval=signed)
        answer = await request_reply(
            self._bus,
            subjects.approval(self._principal),
            message,
            approvals.ApprovalReply,
            timeout=SECONDS,
            effect=True,
        )
        raise_for(answer)
        return answer

    async def _query(self, kind: str, question: Any, answer: type[Any]) -> Any:
        return await request_reply(self._bus, subjects.query(self._principal, kind), question, answer, timeout=SECONDS)


def _lacks_preview(card: Card) -> bool:
    """Return true if the request waits, and its preview may still come."""
    expected = card.facts is not None and card.facts.previews
    return expected and card.preview is None and card.state == "awaiting_approval"


async def _events(
    queue: asyncio.Queue[approvals.ApprovalEvent], subscription: Subscription
) -> AsyncGenerator[approvals.ApprovalEvent, None]:
    try:
        while True:
            yield await queue.get()
    finally:
        await subscription.close()
