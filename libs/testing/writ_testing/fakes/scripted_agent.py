"""An agent driven step by step. It signs for real, with a key of its own: checks of production hold here too."""

import secrets
from typing import Any

from msgspec import Struct, structs

from writ_bus.port import Bus
from writ_contracts import subjects
from writ_contracts.agents import (
    Acknowledgement,
    Claim,
    ClaimMessage,
    ClaimReply,
    Receipt,
    ReceiptMessage,
    SealedParameters,
)
from writ_contracts.journal import Dispatched
from writ_contracts.signing import Signed
from writ_contracts.wire import canonical, decode, encode
from writ_trust.digests import plain_digest
from writ_trust.keys import Key, generate_seed
from writ_trust.sealing import SealKey
from writ_trust.statements import digest, sign


class ClaimOutcome(Struct):
    """The answer to an agent's claim."""

    claim: Signed
    answer: ClaimReply
    parameters: dict[str, Any]


class ScriptedAgent:
    """Claims and receipts of one agent instance, one step at a time."""

    def __init__(self, bus: Bus, pool: str, key: Key | None = None) -> None:
        self.bus = bus
        self.pool = pool
        self.key = key or Key(generate_seed())
        self.instance = f"i-{secrets.token_hex(4)}"

    def claim_for(self, work: Dispatched, seal: SealKey) -> Signed:
        return sign(
            self.key,
            Claim(
                operation_id=work.operation_id,
                attempt=work.attempt,
                pool=self.pool,
                instance=self.instance,
                nonce=secrets.token_hex(32),
                seal_to=seal.public,
            ),
        )

    async def claim(self, work: Dispatched) -> ClaimOutcome:
        """Send a claim. Return its answer."""
        seal = SealKey()
        claim = self.claim_for(work, seal)
        return await self.send_claim(claim, work.principal, seal)

    async def send_claim(self, claim: Signed, principal: str, seal: SealKey) -> ClaimOutcome:
        """Send this very claim."""
        data = encode(ClaimMessage(claim=claim, principal=principal))
        message = await self.bus.request(subjects.claim(self.pool), data, timeout=20)
        answer = decode(message.data, ClaimReply)
        opened = decode(seal.open(answer.sealed), SealedParameters).parameters if answer.grant else {}
        return ClaimOutcome(claim, answer, opened)

    def receipt_for(self, work: Dispatched, held: ClaimOutcome, **how: Any) -> Signed:
        """Return a signed receipt; `succeeded` unless `how` says otherwise."""
        receipt = Receipt(
            operation_id=work.operation_id,
            attempt=work.attempt,
            pool=self.pool,
            instance=self.instance,
            grant_digest=digest(held.answer.grant) if held.answer.grant else None,
            claim_digest=digest(held.claim),
            outcome="succeeded",
            code="",
            message="",
            output_digest=plain_digest(canonical({})),
            output_bytes=2,
            effect="done",
        )
        return sign(self.key, structs.replace(receipt, **how))

    async def finish(
        self, work: Dispatched, held: ClaimOutcome, full: dict[str, Any] | None = None, **how: Any
    ) -> Acknowledgement:
        """Send a receipt for the operation. `full`: its whole output, if that is more than the recorded one."""
        how.setdefault("output_bytes", len(canonical(full or how.get("output", {}))))
        message = ReceiptMessage(
            receipt=self.receipt_for(work, held, **how), principal=work.principal, full_output=full or {}
        )
        answer = await self.bus.request(subjects.receipt(self.pool), encode(message), timeout=20)
        return decode(answer.data, Acknowledgement)
