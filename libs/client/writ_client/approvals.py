"""Approvals from Python: the pending operations that one may decide on, and a signed verdict on one of them."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from typing import Any

from writ_bus.port import Bus, Message, Subscription
from writ_client.approval_card import Card, open_card
from writ_client.service_calls import ask
from writ_contracts import approvals, subjects
from writ_contracts.errors import Denied, Invalid, WritError
from writ_contracts.failures import raise_for
from writ_contracts.previews import PreviewAnswer, PreviewDetails, PreviewQuery
from writ_contracts.wire import decode
from writ_trust.approvals import sign_approval
from writ_trust.keys import Key

SECONDS = 20.0
LARGEST_BACKLOG = 1024
PREVIEW_SECONDS, PREVIEW_PAUSE = 5.0, 0.1
"""How long a card waits for the preview of a request that was just made."""


class Approvals:
    """`writ.approvals`. Raises the errors of `writ_contracts.errors`."""

    def __init__(
        self, bus: Bus, key: Key | None, principal: str, clock: Callable[[], float], installation: str = ""
    ) -> None:
        self._bus = bus
        self._key = key
        self._principal = principal
        self._clock = clock
        self._installation = installation or (key.installation if key else "")

    async def pending(self, *, after: int = 0, limit: int = approvals.MOST_PENDING) -> approvals.ApprovalsAnswer:
        """A page of the operations that one can decide on, now or after others."""
        question = approvals.ApprovalsQuery(after=after, limit=limit)
        answer: approvals.ApprovalsAnswer = await self._query("approvals", question, approvals.ApprovalsAnswer)
        raise_for(answer)
        return answer

    async def card(
        self, operation_id: str, policy_keys: Collection[str] = (), hidden: Mapping[str, Any] | None = None
    ) -> Card:
        """One operation, verified (`approval_card.open_card`). Raises Untrusted, Denied, Invalid (`not_found`).

        A preview that is being taken is waited for, for up to `PREVIEW_SECONDS`.
        """
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
        answer: approvals.ApprovalCardAnswer = await self._query("approval", question, approvals.ApprovalCardAnswer)
        raise_for(answer)
        if answer.card is None:
            raise WritError(f"an answer without operation {operation_id}")
        return answer.card

    async def _details(self, card: Card) -> PreviewDetails | None:
        """The details of its preview; None where they are not kept any more, or not to be read by this person."""
        if card.signed_facts is None:
            return None
        try:
            answer: PreviewAnswer = await self._query("preview", PreviewQuery(facts=card.signed_facts), PreviewAnswer)
            raise_for(answer)
        except (Denied, Invalid):
            return None
        return answer.details

    async def approve(self, card: Card, *, reason: str = "") -> approvals.ApprovalAnswer:
        """Approve what the card shows. Raises Denied where it must not be approved, or not now."""
        if card.refusals:
            raise Denied("; ".join(card.refusals))
        return await self._decide(card, "approve", reason)

    async def reject(self, card: Card, *, reason: str = "") -> approvals.ApprovalAnswer:
        """Reject what the card shows; that ends it."""
        return await self._decide(card, "reject", reason)

    async def listen(self) -> AsyncGenerator[approvals.ApprovalEvent, None]:
        """What happens from now on to operations that one may decide on. Events may get lost: `pending` has all."""
        queue: asyncio.Queue[approvals.ApprovalEvent] = asyncio.Queue(LARGEST_BACKLOG)

        async def heard(message: Message) -> None:
            if not queue.full():
                queue.put_nowait(decode(message.data, approvals.ApprovalEvent))

        subscription = await self._bus.subscribe(subjects.approval_event(self._principal), heard)
        return _events(queue, subscription)

    async def _decide(self, card: Card, verdict: approvals.ApprovalVerdict, reason: str) -> approvals.ApprovalAnswer:
        if self._key is None:
            raise Invalid("an approval needs a key to sign it with")
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
            preview=card.preview.digest if card.preview else None,
        )
        signed = sign_approval(self._key, statement)
        message = approvals.ApprovalMessage(principal=card.requested.principal, approval=signed)
        answer = await ask(
            self._bus, subjects.approval(self._principal), message, approvals.ApprovalAnswer, timeout=SECONDS
        )
        raise_for(answer)
        return answer

    async def _query(self, kind: str, question: Any, answer: type[Any]) -> Any:
        return await ask(self._bus, subjects.query(self._principal, kind), question, answer, timeout=SECONDS)


def _lacks_preview(card: Card) -> bool:
    """Whether the request waits, and its preview may still come."""
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
