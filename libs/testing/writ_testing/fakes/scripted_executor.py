"""An executor and a policy in one, for tests of agents: it signs for real, and lies on request.

One claim of each attempt starts, the same claim gets the same answer again, and every receipt is kept.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct, structs

from writ_bus.port import Bus, Endpoint, Entry, Message, Service
from writ_contracts import subjects
from writ_contracts.agents import (
    Acknowledgement,
    CancelReply,
    CancelRequest,
    Claim,
    ClaimMessage,
    ClaimReply,
    Heartbeat,
    Progress,
    ReadReply,
    ReadRequest,
    Receipt,
    ReceiptMessage,
    ReportMessage,
    SealedParameters,
    SecurityReport,
)
from writ_contracts.attached_bytes import detach
from writ_contracts.decisions import Decision, Grant, PolicyVersion, ReadAction, ReadGrant
from writ_contracts.ids import encode_id
from writ_contracts.ids import operation_id as id_of
from writ_contracts.inventory import Target
from writ_contracts.journal import Dispatched, Requested
from writ_contracts.large_texts import texts_of_bytes
from writ_contracts.operations import Catalogue, Risk
from writ_contracts.parameters import public
from writ_contracts.requests import Failure, RequestStatement
from writ_contracts.signing import Signed
from writ_contracts.wire import decode, encode
from writ_testing.fakes.scripted_policy import accepted_builds
from writ_trust.digests import keyed_digest
from writ_trust.keys import Key, generate_seed
from writ_trust.sealing import seal
from writ_trust.statements import digest, read, sign

PRINCIPAL = "alice"
PATIENCE = 20.0
VERSION = PolicyVersion(
    name="scripted", version="v2", digest="0" * 64, inventory_digest="1" * 64, principals_digest="2" * 64
)


class DispatchedOperation(Struct, kw_only=True):
    """A dispatched operation, with the content of its grant."""

    work: Dispatched
    target: Target
    parameters: dict[str, Any]
    key: str
    number: str = ""
    """The idempotency key of its request."""
    claims: list[Signed] = []
    answer: ClaimReply | None = None


Answering = Callable[[DispatchedOperation, Claim, Signed], Awaitable[ClaimReply | None]]


class ScriptedExecutor:
    """`answering` makes the answer to a claim; None is no answer at all. While `refusing` is set, receipts are
    refused.
    """

    def __init__(self, bus: Bus, catalogue: Catalogue, installation: str = "") -> None:
        self.bus = bus
        self.key = Key(generate_seed(), installation)
        self.principal_key = Key(generate_seed(), installation)
        self.catalogue = catalogue
        self.answering: Answering = self.grant
        self.refusing: Failure | None = None
        self.unsettled = False
        """Whether claims without a grant may yet be granted."""
        self.operations: dict[str, DispatchedOperation] = {}
        self.attaches = False
        """Whether its replies to claims permit attached texts."""
        self.receipts: list[ReceiptMessage] = []
        """With their attached texts in `full_output`; `attached`: the bytes of these, as they came."""
        self.attached: list[bytes] = []
        self.reports: list[SecurityReport] = []
        self.heartbeats: list[Heartbeat] = []
        self.request_of: Callable[[Dispatched], Requested] | None = None
        """Returns the request to store in place of `dispatched`."""
        self.progress: list[Progress] = []
        self.silences: list[Progress] = []
        """Reports of silent hosts: a slow machine causes some."""
        self.noted: list[Progress] = []
        """Progress that is not for requesters."""
        self._changed = asyncio.Condition()

    async def serve(self) -> None:
        """Answer claims, receipts and reports of every pool."""
        endpoints = [
            Endpoint(name="claim", subject="writ.claim.*", handler=self._claim),
            Endpoint(name="receipt", subject="writ.receipt.*", handler=self._receipt),
            Endpoint(name="report", subject="writ.report.*", handler=self._report),
        ]
        await self.bus.serve(Service(name="executor", version="0", description="scripted", endpoints=endpoints))
        await self.bus.subscribe("writ.heartbeat.*", self._heartbeat)
        await self.bus.subscribe("writ.progress.*", self._progress)

    async def dispatch(
        self, operation: str, target: Target, *, attempt: int = 1, again: str = "", **values: Any
    ) -> str:
        """Dispatch an operation to the target's pool. Return its id. `again`: the operation that gets another
        attempt.
        """
        number = self.operations[again].number if again else secrets.token_hex(16)
        operation_id = again or id_of(PRINCIPAL, number)
        definition = self.catalogue.find(operation)
        parameters = definition.check(values)
        shown = public(definition.parameters, parameters)
        key = secrets.token_hex(32)
        look = (
            self.read_grant(operation_id, operation, target, ["baseline"], shown, key) if definition.baseline else None
        )
        ahead = self.read_grant(operation_id, operation, target, ["ahead"], shown, key) if definition.ahead else None
        work = Dispatched(
            id=secrets.token_hex(8),
            at=time.time(),
            correlation_id="scripted",
            operation_id=operation_id,
            principal=PRINCIPAL,
            operation=operation,
            target=target.id,
            pool=target.pool,
            attempt=attempt,
            parameters=shown,
            start_by=time.time() + 60,
            timeout=int(parameters["timeout"]),
            look=look,
            look_key=key if look or ahead else "",
            ahead=ahead,
        )
        self.operations[operation_id] = DispatchedOperation(
            work=work, target=target, parameters=parameters, key=key, number=number, claims=[]
        )
        await self.append(work)
        return operation_id

    async def append(self, work: Dispatched) -> None:
        """Store the event where agents pull it, or the request by which it is dispatched."""
        if self.request_of is not None:
            await self.append_raw(work, encode(self.request_of(work)), kind="requested")
        else:
            await self.append_raw(work, encode(work))

    async def append_raw(self, work: Dispatched, data: bytes, kind: str = "dispatched") -> None:
        """Store these bytes there."""
        where = {"pool": work.pool, "target": work.target}
        own = subjects.operation_filter(work.principal, work.operation_id)
        last = await self.bus.journal.last(own)
        await self.bus.journal.append(
            Entry(
                subject=subjects.operation_event(work.principal, work.operation_id, kind, **where),
                data=data,
                event_id=secrets.token_hex(8),
                filter=own,
                expected=last.sequence if last else 0,
            )
        )

    async def grant(self, dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> ClaimReply:
        """Return an honest executor's answer."""
        return self.sealed(dispatched, claim, sign(self.key, self.honest_grant(dispatched, claim, signed)))

    def honest_grant(self, dispatched: DispatchedOperation, claim: Claim, signed: Signed) -> Grant:
        return Grant(
            operation_id=dispatched.work.operation_id,
            operation=dispatched.work.operation,
            target=dispatched.target,
            principal=dispatched.work.principal,
            parameters_digest=keyed_digest(dispatched.key, dispatched.parameters),
            decision_digest="0" * 64,
            claim_digest=digest(signed),
            policy=VERSION,
            control_sequence=0,
            pool=claim.pool,
            instance=claim.instance,
            nonce=claim.nonce,
            lifetime=30.0,
            timeout=dispatched.work.timeout,
            granted_at=time.time(),
        )

    def sealed(
        self, dispatched: DispatchedOperation, claim: Claim, grant: Signed, parameters: dict[str, Any] | None = None
    ) -> ClaimReply:
        """Return an answer with this grant."""
        inside = SealedParameters(parameters=parameters or dispatched.parameters, parameters_key=dispatched.key)
        if self.catalogue[dispatched.work.operation].risk is Risk.ADMIN:
            inside = structs.replace(inside, **self.statement(dispatched))
        return ClaimReply(grant=grant, sealed=seal(claim.seal_to, encode(inside)), attaches=self.attaches)

    def statement(self, dispatched: DispatchedOperation) -> dict[str, Any]:
        """Return the principal's signature on the request, with what opens it."""
        salt = secrets.token_hex(32)
        statement = RequestStatement(
            principal=dispatched.work.principal,
            operation=dispatched.work.operation,
            target=dispatched.target.id,
            parameters_digest=keyed_digest(salt, dispatched.parameters),
            idempotency_key=dispatched.number,
            dry_run=False,
            issued_at=time.time(),
        )
        return {"statement": sign(self.principal_key, statement), "salt": salt, "given": dispatched.parameters}

    def read_grant(
        self,
        operation_id: str,
        operation: str,
        target: Target,
        actions: list[ReadAction],
        parameters: dict[str, Any],
        key: str,
        **changed: Any,
    ) -> Signed:
        """Return a read grant valid for a minute, unless `changed`."""
        fields: dict[str, Any] = {
            "operation_id": operation_id,
            "operation": operation,
            "target": target,
            "pool": target.pool,
            "actions": actions,
            "parameters_digest": keyed_digest(key, parameters),
            "policy": VERSION,
            "expires_at": time.time() + 60,
            "plugins": accepted_builds(self.catalogue),
        }
        return sign(changed.pop("signer", self.key), ReadGrant(**{**fields, **changed}))

    async def request_read(self, ask: ReadRequest, pool: str) -> ReadReply:
        message = await self.bus.request(subjects.host_read(pool), encode(ask), timeout=PATIENCE)
        return decode(message.data, ReadReply)

    def decision(self, operation_id: str, parameters: dict[str, Any], key: str, **changed: Any) -> Signed:
        """Return an allowed operation_cancel, unless `changed`."""
        fields: dict[str, Any] = {
            "operation_id": encode_id(secrets.token_bytes(16)),
            "principal": PRINCIPAL,
            "operation": "operation_cancel",
            "target": "writ",
            "effect": "allow",
            "code": "allowed",
            "rules": ["own"],
            "reason": f"cancels {operation_id}",
            "parameters_digest": keyed_digest(key, parameters),
            "policy": VERSION,
            "control_sequence": 0,
            "at": time.time(),
            "authenticated": "server",
        }
        return sign(changed.pop("signer", self.key), Decision(**{**fields, **changed}))

    async def cancel(self, operation_id: str, **changed: Any) -> CancelReply:
        """Send a cancel to the claiming instance."""
        dispatched, key = self.operations[operation_id], secrets.token_hex(32)
        parameters = {"operation_id": operation_id, "timeout": 30}
        ask = CancelRequest(
            operation_id=operation_id,
            decision=self.decision(operation_id, parameters, key, **changed),
            parameters=parameters,
            parameters_key=key,
        )
        instance = read(dispatched.claims[-1], Claim).instance
        subject = subjects.cancel(dispatched.work.pool, instance)
        return decode((await self.bus.request(subject, encode(ask), timeout=PATIENCE)).data, CancelReply)

    async def ended(self, operation_id: str) -> Receipt:
        """Return the operation's receipt once it has arrived."""
        await self.until(lambda: any(read(one.receipt, Receipt).operation_id == operation_id for one in self.receipts))
        return next(one for one in self.signed_receipts() if one.operation_id == operation_id)

    def signed_receipts(self) -> list[Receipt]:
        return [read(one.receipt, Receipt) for one in self.receipts]

    async def until(self, true: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Wait until the condition holds after some message; TimeoutError if it never does."""
        async with asyncio.timeout(patience), self._changed:
            await self._changed.wait_for(true)

    async def _claim(self, message: Message) -> bytes:
        claim_message = decode(message.data, ClaimMessage)
        claim = read(claim_message.claim, Claim)
        dispatched = self.operations[claim.operation_id]
        first = dispatched.claims[0] if dispatched.claims else claim_message.claim
        dispatched.claims.append(claim_message.claim)
        await self._notify()
        if first != claim_message.claim or claim.attempt != dispatched.work.attempt:
            return encode(ClaimReply(error=Failure(code="gone", message="somebody else started it")))
        answer = dispatched.answer or await self.answering(dispatched, claim, claim_message.claim)
        if answer is None:
            await asyncio.Event().wait()
        elif answer.error is None:
            dispatched.answer = answer
        return encode(answer)

    async def _receipt(self, message: Message) -> bytes:
        content, attached = detach(message.data)
        receipt_message = decode(content, ReceiptMessage)
        values = receipt_message.full_output
        self.attached.append(attached)
        receipt_message = structs.replace(
            receipt_message, full_output={**values, **texts_of_bytes(receipt_message.texts, attached, values)}
        )
        if self.refusing is not None:
            return encode(Acknowledgement(error=self.refusing))
        self.receipts.append(receipt_message)
        await self._notify()
        without_grant = read(receipt_message.receipt, Receipt).grant_digest is None
        return encode(Acknowledgement(stored=True, unsettled=self.unsettled and without_grant))

    async def _report(self, message: Message) -> bytes:
        self.reports.append(read(decode(message.data, ReportMessage).report, SecurityReport))
        await self._notify()
        return encode(Acknowledgement(stored=True))

    async def _heartbeat(self, message: Message) -> None:
        self.heartbeats.append(decode(message.data, Heartbeat))
        await self._notify()

    async def _progress(self, message: Message) -> None:
        progress = decode(message.data, Progress)
        if progress.for_requester:
            (self.silences if progress.silent else self.progress).append(progress)
        else:
            self.noted.append(progress)
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
