"""A policy that decides by script. It signs for real, with a key of its own: checks of production hold here too."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

from writ_bus import tracing
from writ_bus.port import Bus, Endpoint, Entry, Message, Service
from writ_contracts import subjects
from writ_contracts.agents import Claim
from writ_contracts.catalogue.control import AUDIT_READ
from writ_contracts.decisions import (
    KILL_GRACE,
    DecideReply,
    DecideRequest,
    Decision,
    Effect,
    Grant,
    GrantReply,
    GrantRequest,
    PolicyVersion,
    ReadAction,
    ReadGrant,
    RecordReadRequest,
    RuleLimit,
    Subject,
    TextsByDigest,
)
from writ_contracts.errors import Conflict, WritError
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.inventory import WRIT, Target
from writ_contracts.journal import Granted
from writ_contracts.life import DispatchedLife, State, fold
from writ_contracts.operations import Catalogue
from writ_contracts.parameters import public
from writ_contracts.policy.listing import VisibleReply, VisibleRequest
from writ_contracts.requests import Failure
from writ_contracts.signing import Signed
from writ_contracts.version import LEVEL
from writ_contracts.wire import decode, encode, event_of
from writ_trust.digests import digest_by_texts, keyed_digest
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import digest, sign

VERSION = PolicyVersion(
    name="scripted", version="v2", digest="0" * 64, inventory_digest="1" * 64, principals_digest="2" * 64
)

TEXTS_NEEDED = Failure(code="texts_needed", message="no texts are kept here")


def accepted_builds(catalogue: Catalogue) -> dict[str, list[str]]:
    """Return the builds of plugins in this process as the only accepted ones."""
    return {one.name: [one.digest] for one in catalogue.plugins}


class ScriptedPolicy:
    """Allows everything, unless `effects`, `errors` or `grant_effects` name the operation.

    `needs`: listings it requires before it decides. `limits`: limits in its decisions. While `decides_now` is cleared,
    decisions wait; `waiting`: their number. `needs_texts`: it requires the large texts of requests.
    """

    def __init__(self, catalogue: Catalogue, targets: Mapping[str, Target]) -> None:
        self.key = Key(generate_seed())
        self.effects: dict[str, Effect] = {}
        self.grant_effects: dict[str, Effect] = {}
        self.errors: dict[str, Failure] = {}
        self.grant_errors: dict[str, Failure] = {}
        self.needs: dict[str, list[str]] = {}
        self.limits: dict[str, list[RuleLimit]] = {}
        self.decides: list[DecideRequest] = []
        self.decides_now = asyncio.Event()
        self.decides_now.set()
        self.waiting = 0
        self.grants: list[GrantRequest] = []
        self.lifetime = 30.0
        self.needs_texts = False
        self.kill_grace = KILL_GRACE
        self.agents: frozenset[str] | None = None
        self.visible: dict[str, list[str]] | None = None
        """The targets and operations a principal may list; None: everything."""
        """The keys whose claims are accepted; None: any key."""
        self._bus: Bus | None = None
        self._catalogue = catalogue
        self._targets = dict(targets)

    def know(self, targets: Iterable[Target]) -> None:
        """Add targets to the scripted inventory."""
        self._targets |= {target.id: target for target in targets}

    async def serve(self, bus: Bus) -> None:
        """Answer on the policy's subjects."""
        self._bus = bus
        await bus.serve(
            Service(
                name="policy",
                version="0",
                description="scripted",
                endpoints=[
                    Endpoint(name="policy_decide", subject=subjects.POLICY_DECIDE, handler=self._decide),
                    Endpoint(name="policy_record_read", subject=subjects.POLICY_RECORD_READ, handler=self._record_read),
                    Endpoint(name="policy_grant", subject=subjects.POLICY_GRANT, handler=self._grant),
                    Endpoint(name="policy_visible", subject=subjects.POLICY_VISIBLE, handler=self._visible),
                ],
            )
        )

    def target(self, target_id: str) -> Target:
        """Return a target of the scripted inventory."""
        return WRIT if target_id == WRIT_TARGET else self._targets[target_id]

    async def _visible(self, message: Message) -> bytes:
        request = decode(message.data, VisibleRequest)
        known = {name: found for name, found in (self.visible or {}).items() if name in request.targets}
        return encode(VisibleReply(limited=self.visible is not None, operations=known))

    async def _record_read(self, message: Message) -> bytes:
        request = decode(message.data, RecordReadRequest)
        subject = Subject(
            operation_id=request.operation_id,
            principal=request.principal,
            key=request.key,
            operation=AUDIT_READ,
            target=WRIT_TARGET,
            parameters=request.parameters,
            parameters_key=request.parameters_key,
            owner=request.owner,
        )
        return self._decided(DecideRequest(subject=subject, control_sequence=request.control_sequence))

    async def _decide(self, message: Message) -> bytes:
        self.waiting += 1
        await self.decides_now.wait()
        self.waiting -= 1
        return self._decided(decode(message.data, DecideRequest))

    def _decided(self, ask: DecideRequest) -> bytes:
        self.decides.append(ask)
        subject = ask.subject
        if subject.operation in self.errors:
            return encode(DecideReply(error=self.errors[subject.operation]))
        if subject.texts and self.needs_texts:
            return encode(DecideReply(error=TEXTS_NEEDED))
        effective = self._effective(subject)
        if (needs := self.needs.get(subject.operation)) and ask.facts is None:
            decision = self.decision(subject, effective, "deny", ask.control_sequence)
            listing = self._listing(subject, ask.look_key or "", needs)
            return encode(DecideReply(decision=sign(self.key, decision), look=listing, needs=needs))
        decision = self.decision(subject, effective, self.effects.get(subject.operation, "allow"), ask.control_sequence)
        look = self._read_grant(ask, effective) if self._looks(ask) and decision.effect != "deny" else None
        return encode(DecideReply(decision=sign(self.key, decision), effective=effective, look=look, level=LEVEL))

    async def _grant(self, message: Message) -> bytes:
        ask = decode(message.data, GrantRequest)
        self.grants.append(ask)
        subject = ask.subject
        if ask.kept is not None or (subject.texts and self.needs_texts):  # as a replica that did not decide on it
            return encode(GrantReply(error=TEXTS_NEEDED))
        if subject.operation in self.grant_errors:
            return encode(GrantReply(error=self.grant_errors[subject.operation]))
        if self.agents is not None and ask.claim.key not in self.agents:
            return encode(GrantReply(error=Failure(code="forged_claim", message="the claim is nobody's")))
        effective = self._effective(subject)
        if (needs := self.needs.get(subject.operation)) and ask.facts is None:
            decision = self.decision(subject, effective, "deny", ask.control_sequence)
            listing = self._listing(subject, ask.look_key or "", needs)
            return encode(GrantReply(decision=sign(self.key, decision), look=listing, needs=needs))
        effect = self.grant_effects.get(subject.operation, self.effects.get(subject.operation, "allow"))
        decision = self.decision(subject, effective, effect, ask.control_sequence)
        signed = sign(self.key, decision)
        if effect != "allow":
            return encode(GrantReply(decision=signed))
        grant = self.grant(ask, decision, signed, effective)
        writ = sign(self.key, grant)
        try:
            await self._record(ask, grant, writ, signed, effective)
        except WritError as error:
            return encode(GrantReply(error=Failure(code=error.code, message=str(error), retry=error.retry)))
        return encode(GrantReply(grant=writ, decision=signed, effective=effective))

    async def _record(
        self, ask: GrantRequest, grant: Grant, writ: Signed, decision: Signed, effective: dict[str, Any]
    ) -> None:
        """Append `granted` if the operation waits for this claim. Raises Conflict (`moved_on`) otherwise."""
        assert self._bus is not None
        subject, claim = ask.subject, decode(bytes(ask.claim.payload), Claim)
        operation = subjects.operation_filter(subject.principal, subject.operation_id)
        records = await self._bus.journal.read(operation)
        life = fold((record.sequence, event_of(record.subject, record.data)) for record in records)  # type: ignore[misc]
        waits = life.state is State.DISPATCHED
        if not waits or not isinstance(life, DispatchedLife) or life.dispatched.attempt != claim.attempt:
            raise Conflict(f"{subject.operation_id} is {life.state}", code="moved_on")
        shown = public(self._catalogue.find(subject.operation).parameters, effective)
        now = grant.granted_at
        event = Granted(
            **tracing.stamp(now, life.requested.correlation_id),
            operation_id=subject.operation_id,
            attempt=claim.attempt,
            instance=claim.instance,
            deadline=now + grant.lifetime + grant.timeout + self.kill_grace,
            claim=ask.claim,
            grant=writ,
            decision=decision,
            parameters={name: shown[name] for name in shown if ask.values or name not in subject.parameters},
        )
        where = subjects.operation_event(subject.principal, subject.operation_id, "granted")
        entry = Entry(subject=where, data=encode(event), event_id=event.id, filter=operation, expected=life.sequence)
        try:
            await self._bus.journal.append(entry)
        except Conflict as error:
            raise Conflict(str(error), code="moved_on") from error

    def _effective(self, subject: Subject) -> dict[str, Any]:
        stand_ins = dict.fromkeys(subject.texts, "")
        effective = self._catalogue.find(subject.operation).check({**subject.parameters, **stand_ins})
        return {name: value for name, value in effective.items() if name not in subject.texts}

    def decision(self, subject: Subject, effective: dict[str, Any], effect: Effect, control: int) -> Decision:
        """Return a decision on the subject."""
        return Decision(
            operation_id=subject.operation_id,
            principal=subject.principal,
            operation=subject.operation,
            target=subject.target,
            effect=effect,
            code={"allow": "allowed", "deny": "denied"}.get(effect, "approval"),
            rules=["scripted"],
            reason=f"scripted to {effect}",
            parameters_digest=_digest(subject, effective),
            by_texts=TextsByDigest(names=sorted(subject.texts)) if subject.texts else None,
            policy=VERSION,
            control_sequence=control,
            at=time.time(),
            authenticated="server",
            dry_run=subject.dry_run,
            timeout=int(effective["timeout"]),
            limits=self.limits.get(subject.operation, []),
        )

    def _listing(self, subject: Subject, look_key: str, needs: list[str]) -> Signed:
        target = self.target(subject.target)
        look = ReadGrant(
            operation_id=subject.operation_id,
            operation=subject.operation,
            target=target,
            pool=target.pool,
            actions=["listing"],
            parameters_digest=keyed_digest(look_key, {}),
            policy=VERSION,
            expires_at=time.time() + 60,
            sources=needs,
            issued_at=time.time(),
            plugins=accepted_builds(self._catalogue),
        )
        return sign(self.key, look)

    def grant(self, ask: GrantRequest, decision: Decision, signed: Signed, effective: dict[str, Any]) -> Grant:
        """Return a grant for the claim."""
        claim = decode(bytes(ask.claim.payload), Claim)
        return Grant(
            operation_id=decision.operation_id,
            operation=decision.operation,
            target=self.target(decision.target),
            principal=decision.principal,
            parameters_digest=decision.parameters_digest,
            decision_digest=digest(signed),
            claim_digest=digest(ask.claim),
            policy=VERSION,
            control_sequence=ask.control_sequence,
            pool=claim.pool,
            instance=claim.instance,
            nonce=claim.nonce,
            lifetime=self.lifetime,
            timeout=int(effective["timeout"]),
            granted_at=time.time(),
        )

    def _looks(self, ask: DecideRequest) -> bool:
        return bool(ask.look_until) or "visit" in ask.look

    def _read_grant(self, ask: DecideRequest, effective: dict[str, Any]) -> Signed:
        definition = self._catalogue.find(ask.subject.operation)
        actions: list[ReadAction] = ask.look or ["ahead"]
        observed = effective if "preview" in ask.look else public(definition.parameters, effective)
        target = self.target(effective["target"] if "visit" in actions else ask.subject.target)
        look = ReadGrant(
            operation_id=ask.subject.operation_id,
            operation=ask.subject.operation,
            target=target,
            pool=target.pool,
            actions=actions,
            parameters_digest=keyed_digest(ask.look_key or "", observed),
            policy=VERSION,
            expires_at=ask.look_until or 0.0,
            plugins=accepted_builds(self._catalogue),
            previewed=keyed_digest(ask.subject.parameters_key, effective) if "preview" in ask.look else None,
        )
        return sign(self.key, look)


def _digest(subject: Subject, effective: dict[str, Any]) -> str:
    if not subject.texts:
        return keyed_digest(subject.parameters_key, effective)
    return digest_by_texts(subject.parameters_key, effective, subject.texts)
