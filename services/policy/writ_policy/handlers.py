"""The endpoints `decide` and `grant`: decode, catch up, judge, sign, encode; one answer, one record on every path."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from msgspec import Struct

from writ_bus.port import Endpoint, Message, Service
from writ_contracts import subjects, wire
from writ_contracts.decisions import AskGrant, Decide, Decided, Granted
from writ_contracts.errors import Denied, Invalid, Unreachable, Untrusted, WritError
from writ_contracts.operations import Catalogue
from writ_contracts.requests import Failure
from writ_policy.follower import Follower
from writ_policy.measures import Measures
from writ_policy.permits import check_claim, grant, look
from writ_policy.rulings import Judge, Ruled
from writ_policy.sources import Sources
from writ_runtime.logs import Log
from writ_runtime.metrics import Handled, Observer
from writ_trust.keys import Key
from writ_trust.statements import sign

CONCURRENCY = 256
Ask = TypeVar("Ask", Decide, AskGrant)
Clock = Callable[[], float]

_log = Log("writ.policy")


class Handlers:
    """One method an endpoint."""

    def __init__(
        self,
        sources: Sources,
        follower: Follower,
        catalogue: Catalogue,
        key: Key,
        measures: Measures,
        observe: Observer,
        *,
        dry_run_only: bool = False,
        clock: Clock = time.time,
    ) -> None:
        self._sources = sources
        self._follower = follower
        self._catalogue = catalogue
        self._key = key
        self._measures = measures
        self._observe = observe
        self._dry_run_only = dry_run_only
        self._clock = clock

    def service(self, version: str) -> Service:
        """The micro service, to be served."""
        return Service(
            name="policy",
            version=version,
            description="What may happen: decisions, and grants for claims.",
            endpoints=[
                Endpoint(name="decide", subject=subjects.POLICY_DECIDE, handler=self.decide, concurrency=CONCURRENCY),
                Endpoint(name="grant", subject=subjects.POLICY_GRANT, handler=self.grant, concurrency=CONCURRENCY),
            ],
        )

    async def decide(self, message: Message) -> bytes:
        """Answers Decide."""
        return await self._handle("decide", message, Decide, self._decide, Decided)

    async def grant(self, message: Message) -> bytes:
        """Answers AskGrant."""
        return await self._handle("grant", message, AskGrant, self._grant, Granted)

    async def _decide(self, ask: Decide) -> tuple[Decided, Ruled]:
        judge = await self._judge(ask.control_sequence)
        ruled = judge.rule(ask.subject)
        seen = look(ask, ruled)
        answer = Decided(
            decision=sign(self._key, ruled.decision),
            effective=dict(ruled.ruling.effective),
            look=None if seen is None else sign(self._key, seen),
        )
        return answer, ruled

    async def _grant(self, ask: AskGrant) -> tuple[Granted, Ruled]:
        if ask.subject.simulate:
            raise Invalid("a simulation gets no grant")
        judge = await self._judge(ask.control_sequence)
        ruled = judge.rule(ask.subject, starting=True)
        decision = sign(self._key, ruled.decision)
        if ruled.ruling.effect != "allow":
            return Granted(decision=decision), ruled
        claim = check_claim(ask, judge.world)
        writ = sign(self._key, grant(ask, claim, ruled, decision))
        return Granted(grant=writ, decision=decision, effective=dict(ruled.ruling.effective)), ruled

    async def _judge(self, control_sequence: int) -> Judge:
        """All that a decision stands on, as it is now."""
        world = await self._sources.refresh()
        if not await self._follower.reach(control_sequence):
            seen = self._follower.state.sequence
            raise Unreachable(f"control event {control_sequence} is not seen here yet, {seen} is", code="behind")
        return Judge(
            world=world,
            control=self._follower.state,
            catalogue=self._catalogue,
            dry_run_only=self._dry_run_only,
            now=self._clock(),
        )

    async def _handle(
        self,
        endpoint: str,
        message: Message,
        kind: type[Ask],
        answer: Callable[[Ask], Awaitable[tuple[Struct, Ruled]]],
        otherwise: Callable[..., Struct],
    ) -> bytes:
        started = time.perf_counter()
        fields: dict[str, Any] = {}
        outcome, code = "ok", ""
        try:
            reply, ruled = await answer(wire.decode(message.data, kind))
            fields = self._measures.decided(ruled)
        except WritError as error:
            code, outcome = error.code, "refused" if isinstance(error, Invalid | Untrusted | Denied) else "failed"
            reply = otherwise(error=Failure(code=code, message=str(error)[:1000], retry=error.retry))
        except Exception as error:  # noqa: BLE001 - the last frame before the wire: a defect denies, and is told
            _log.error(f"{endpoint}.crashed", exception=error)
            code, outcome = "internal", "failed"
            reply = otherwise(error=Failure(code=code, message="a defect in policy: see its log"))
        seconds = time.perf_counter() - started
        self._observe(Handled(endpoint=endpoint, outcome=outcome, seconds=seconds, code=code, fields=fields))
        return wire.encode(reply)
