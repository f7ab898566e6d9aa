"""An executor with a stolen key: it may write the journal, and cannot make an agent act.

It dispatches undecided operations, and answers claims with grants of its own making. Pause the true executors
meanwhile: an agent believes the first answer, and must get the forged one first.
"""

import secrets
import time
from collections.abc import Callable
from typing import Any

from msgspec import structs

from writ_bus.port import Bus, Entry, Message
from writ_contracts import subjects
from writ_contracts.agents import Claim, ClaimMessage, ClaimReply, SealedParameters
from writ_contracts.decisions import Decision, Grant
from writ_contracts.ids import encode_id
from writ_contracts.inventory import Target
from writ_contracts.journal import Dispatched, OperationEvent, Requested
from writ_contracts.requests import Verdict
from writ_contracts.signing import Signed
from writ_contracts.wire import decode, encode
from writ_testing.fakes.scripted_policy import VERSION
from writ_trust.digests import keyed_digest
from writ_trust.keys import Key
from writ_trust.sealing import seal
from writ_trust.statements import digest, sign

Change = Callable[[Grant], Grant]


class Forger:
    """The attacker, on a bus connected with the executor's key."""

    def __init__(self, bus: Bus, target: Target, signer: Key, change: Change = lambda grant: grant) -> None:
        """`signer` signs the grants (the true policy key makes them genuine); `change` falsifies them."""
        self._bus = bus
        self._target = target
        self._signer = signer
        self._change = change
        self._key = secrets.token_hex(32)
        self._parameters: dict[str, Any] = {}
        self._operation = ""
        self._answers: ClaimReply | None = None
        self.replay = False
        """Answer every claim with the first answer."""
        self.claims: list[Claim] = []
        """The answered claims."""

    async def listen(self) -> None:
        """Answer the pool's claims, before the true executors do."""
        await self._bus.subscribe(subjects.claim(self._target.pool), self._claimed)

    async def answered(self, operation_id: str) -> bool:
        """Return whether it has answered a claim for this operation."""
        return any(claim.operation_id == operation_id for claim in self.claims)

    async def dispatch(self, operation: str, parameters: dict[str, Any], *, principal: str = "operator") -> str:
        """Write the events of an apparently accepted operation into the journal. Return its id."""
        self._operation, self._parameters = operation, parameters
        operation_id = encode_id(secrets.token_bytes(16))
        decision = sign(self._signer, self._decision(operation_id, principal))
        requested, dispatched = self._events(operation_id, principal, decision)
        sequence = await self._append(principal, operation_id, requested, 0)
        await self._append(principal, operation_id, dispatched, sequence)
        return operation_id

    async def _append(self, principal: str, operation_id: str, event: OperationEvent, expected: int) -> int:
        kind = str(event.__struct_config__.tag)
        pool, target = (self._target.pool, self._target.id) if isinstance(event, Dispatched) else ("", "")
        entry = Entry(
            subject=subjects.operation_event(principal, operation_id, kind, pool=pool, target=target),
            data=encode(event),
            event_id=event.id,
            filter=subjects.operation_filter(principal, operation_id),
            expected=expected,
        )
        return await self._bus.journal.append(entry)

    def _events(self, operation_id: str, principal: str, decision: Signed) -> tuple[Requested, Dispatched]:
        now = time.time()
        common: dict[str, Any] = {
            "at": now,
            "correlation_id": operation_id,
            "operation_id": operation_id,
            "principal": principal,
            "operation": self._operation,
            "target": self._target.id,
            "pool": self._target.pool,
            "parameters": self._parameters,
            "timeout": 10,
            "start_by": now + 30,
        }
        requested = Requested(
            **common,
            id=secrets.token_hex(16),
            risk="read",
            idempotent=False,
            key="",
            effective=self._parameters,
            hidden=[],
            parameters_digest=keyed_digest(self._key, self._parameters),
            fingerprint="",
            verdict=Verdict(decision="allow", rules=["forged"], reason="forged", code="allowed"),
            decision=decision,
        )
        return requested, Dispatched(**common, id=secrets.token_hex(16), attempt=1)

    def _decision(self, operation_id: str, principal: str) -> Decision:
        return Decision(
            operation_id=operation_id,
            principal=principal,
            operation=self._operation,
            target=self._target.id,
            effect="allow",
            code="allowed",
            rules=["forged"],
            reason="forged",
            parameters_digest=keyed_digest(self._key, self._parameters),
            policy=VERSION,
            control_sequence=0,
            at=time.time(),
            authenticated="server",
        )

    async def _claimed(self, message: Message) -> None:
        claim_message = decode(message.data, ClaimMessage)
        claim = decode(bytes(claim_message.claim.payload), Claim)
        if self._answers is None or not self.replay:
            self._answers = self._claim_reply(claim_message, claim)
        await self._bus.publish(message.reply, encode(self._answers))
        await self._bus.journal.usage()  # the server has seen the answer, too
        self.claims.append(claim)

    def _claim_reply(self, claim_message: ClaimMessage, claim: Claim) -> ClaimReply:
        grant = Grant(
            operation_id=claim.operation_id,
            operation=self._operation,
            target=self._target,
            principal=claim_message.principal,
            parameters_digest=keyed_digest(self._key, self._parameters),
            decision_digest="0" * 64,
            claim_digest=digest(claim_message.claim),
            policy=VERSION,
            control_sequence=0,
            pool=claim.pool,
            instance=claim.instance,
            nonce=claim.nonce,
            lifetime=30.0,
            timeout=10,
            granted_at=time.time(),
        )
        inside = SealedParameters(parameters=self._parameters, parameters_key=self._key)
        return ClaimReply(grant=sign(self._signer, self._change(grant)), sealed=seal(claim.seal_to, encode(inside)))


def changed(**fields: Any) -> Change:
    """Return a function changing these fields of a grant."""
    return lambda grant: structs.replace(grant, **fields)
