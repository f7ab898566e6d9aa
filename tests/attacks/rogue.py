"""An executor with a stolen key: it requests grants from policy on claims of agents."""

import secrets
import time
from typing import Any

from msgspec import structs

from writ_bus.port import Bus, Entry, Message
from writ_contracts import subjects
from writ_contracts.agents import Acknowledgement, Claim, ClaimMessage, ClaimReply, SealedParameters
from writ_contracts.decisions import GrantReply, GrantRequest, Subject
from writ_contracts.journal import Carried, Dispatched, Finished, JournalEvent, OperationEvent, Requested, SecurityEvent
from writ_contracts.requests import Failure, Verdict
from writ_contracts.signing import Signed
from writ_contracts.wire import decode, decode_event, encode
from writ_testing.eventually import eventually
from writ_trust.sealing import seal
from writ_trust.statements import read


class Rogue:
    """Acts on a bus with the executors' key, while the true executors are paused."""

    def __init__(self, bus: Bus, pool: str = "a", target: str = "web-1") -> None:
        self.bus = bus
        self.pool, self.target = pool, target
        self.subjects: dict[str, Subject] = {}
        """What it asks a grant for, by operation id."""
        self.answers: list[GrantReply] = []
        self.dropped: list[bytes] = []

    async def listen(self) -> None:
        """Answer the pool's claims and reports."""
        await self.bus.subscribe(subjects.claim(self.pool), self._claimed)
        await self.bus.subscribe(subjects.report(self.pool), self._reported)

    async def _claimed(self, message: Message) -> None:
        request = decode(message.data, ClaimMessage)
        claim = read(request.claim, Claim)
        subject = self.subjects.get(claim.operation_id)
        if subject is None:
            return
        answer = await self.grant(subject, request.claim)
        self.answers.append(answer)
        if answer.grant is None:
            refused = ClaimReply(error=Failure(code="gone", message="no luck"))
            await self.bus.publish(message.reply, encode(refused))
            return
        inside = SealedParameters(parameters=answer.effective, parameters_key=subject.parameters_key)
        sealed = seal(claim.seal_to, encode(inside))
        await self.bus.publish(message.reply, encode(ClaimReply(grant=answer.grant, sealed=sealed)))

    async def _reported(self, message: Message) -> None:
        self.dropped.append(message.data)
        await self.bus.publish(message.reply, encode(Acknowledgement(stored=True)))

    async def grant(self, subject: Subject, claim: Signed, **changed: Any) -> GrantReply:
        ask = GrantRequest(subject=subject, claim=claim, control_sequence=0, **changed)
        return decode((await self.bus.request(subjects.POLICY_GRANT, encode(ask), timeout=10)).data, GrantReply)

    async def append(self, subject: Subject, event: OperationEvent) -> int:
        """Store any event as the next one of the operation."""
        own, kind = subjects.operation_filter(subject.principal, subject.operation_id), str(event.__struct_config__.tag)
        where = {"pool": self.pool, "target": self.target} if isinstance(event, Dispatched) else {}
        last = await self.bus.journal.last(own)
        entry = Entry(
            subject=subjects.operation_event(subject.principal, subject.operation_id, kind, **where),
            data=encode(event),
            event_id=event.id,
            filter=own,
            expected=last.sequence if last else 0,
        )
        return await self.bus.journal.append(entry)

    async def dispatch(self, subject: Subject, attempt: int = 1) -> int:
        """Dispatch the operation, so that agents claim it."""
        self.subjects[subject.operation_id] = subject
        event = Dispatched(**self._common(subject), id=secrets.token_hex(16), attempt=attempt)
        return await self.append(subject, event)

    def requested(self, subject: Subject, decision: Signed, **changed: Any) -> Requested:
        """Store an event that looks like an accepted request."""
        event = Requested(
            **self._common(subject),
            id=secrets.token_hex(16),
            risk="change",
            idempotent=True,
            key=subject.key,
            effective=subject.parameters,
            hidden=[],
            parameters_digest="0" * 64,
            fingerprint="",
            verdict=Verdict(decision="allow", rules=["forged"], reason="forged", code="allowed"),
            decision=decision,
            idempotency_key=subject.idempotency_key,
            statement=subject.statement,
            salt=subject.salt,
        )
        return structs.replace(event, **changed)

    def finished(self, subject: Subject) -> Finished:
        """Store an end that no agent reported."""
        number, at = subject.operation_id, time.time()
        return Finished(id=secrets.token_hex(16), at=at, correlation_id="rogue", operation_id=number, outcome="failed")

    def _common(self, subject: Subject) -> dict[str, Any]:
        return {
            "at": time.time(),
            "correlation_id": subject.operation_id,
            "operation_id": subject.operation_id,
            "principal": subject.principal,
            "operation": subject.operation,
            "target": subject.target,
            "pool": self.pool,
            "parameters": subject.parameters,
            "timeout": 10,
            "start_by": time.time() + 30,
        }

    async def answered(self, number: int) -> None:
        """Wait until so many claims have been answered."""

        async def check() -> bool:
            return len(self.answers) >= number

        await eventually(check, what=f"{number} claims")


async def events(bus: Bus, filter: str) -> list[JournalEvent | Carried]:
    """Return the journal's events that match the filter."""
    return [decode_event(record.data) for record in await bus.journal.read(filter)]


async def alarm(bus: Bus, kind: str, operation_id: str | None = None, text: str = "") -> SecurityEvent:
    """Return a security event of this kind, once it is recorded."""

    async def check() -> SecurityEvent | None:
        for event in await events(bus, subjects.security_event(kind)):
            if isinstance(event, SecurityEvent) and operation_id in (None, event.operation_id) and text in event.detail:
                return event
        return None

    return await eventually(check, what=f"a security event {kind} about {operation_id}")
