"""The endpoints `decide` and `grant`: decode, catch up, judge, sign, encode; one answer, one record on every path."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from msgspec import Struct

from writ_bus.port import Endpoint, Journal, Message
from writ_contracts import subjects, wire
from writ_contracts.catalogue.control import BACKEND_TEST
from writ_contracts.decisions import AskGrant, Decide, Decided, GrantAnswer
from writ_contracts.errors import Denied, Invalid, Untrusted, WritError
from writ_contracts.requests import Failure, Problem
from writ_policy.decisions.control_checks import CHECKS
from writ_policy.decisions.facts import KnownFacts, listed
from writ_policy.decisions.grants import read_grant, target_test_grant
from writ_policy.decisions.judging import JudgeFactory
from writ_policy.decisions.rulings import Judge, RuledRequest
from writ_policy.endpoints.scans import Scans
from writ_policy.granting import Granting
from writ_policy.metrics import Measures
from writ_policy.starts import FORGED, ForgedStart
from writ_policy.versions.proposed import CHANGES, ProposedVersions
from writ_runtime.logs import Log
from writ_runtime.metrics import Handled, Observer
from writ_runtime.security_events import SecurityEvents
from writ_trust.keys import Key
from writ_trust.statements import sign

CONCURRENCY = 256
Ask = TypeVar("Ask", Decide, AskGrant)
Clock = Callable[[], float]

_log = Log("writ.policy")


class DecisionEndpoints:
    """One method an endpoint."""

    def __init__(
        self,
        journal: Journal,
        judging: JudgeFactory,
        proposed: ProposedVersions,
        scans: Scans,
        key: Key,
        former: Mapping[str, int],
        security: SecurityEvents,
        measures: Measures,
        observe: Observer,
    ) -> None:
        """`former`: policy's earlier keys, and up to which event of the journal each signed."""
        self._granting = Granting(journal, judging, self._known_facts, key, former)
        self._security = security
        self._judging = judging
        self._scans = scans
        self._proposed = proposed
        self._key = key
        self._measures = measures
        self._observe = observe

    def endpoints(self) -> list[Endpoint]:
        """What is answered to services, to be served."""
        return [
            Endpoint(name="decide", subject=subjects.POLICY_DECIDE, handler=self.decide, concurrency=CONCURRENCY),
            Endpoint(name="grant", subject=subjects.POLICY_GRANT, handler=self.grant, concurrency=CONCURRENCY),
        ]

    async def decide(self, message: Message) -> bytes:
        """Answers Decide."""
        return await self._handle("decide", message, Decide, self._decide, Decided)

    async def grant(self, message: Message) -> bytes:
        """Answers AskGrant."""
        return await self._handle("grant", message, AskGrant, self._granting.grant, GrantAnswer)

    async def _decide(self, ask: Decide) -> tuple[Decided, RuledRequest]:
        judge = await self._judging.at(ask.control_sequence, ask.stored_policies)
        if ask.subject.operation in CHECKS:  # an id that another executor's event made a moment ago is not unknown
            judge = await self._judging.now()
        recorded, known = await self._granting.recorded(ask), await self._known_facts(ask, judge)
        ruled = judge.rule(ask.subject, known, recorded=recorded, traced=ask.traced)
        if ask.subject.simulate or ruled.decision.dry_run:  # nothing will start, and be judged by its baseline then
            ruled = judge.under_listed_names(ruled, ask.subject, known, ask.traced)
        if ask.subject.operation in CHANGES and ruled.ruling.effect != "deny":
            people = tuple(judge.world.principals.values())
            await self._proposed.check(ask.subject.operation, ask.subject.parameters, people, judge.now)
        grant = (
            target_test_grant(ask, ruled, judge.world)
            if ask.subject.operation == BACKEND_TEST
            else read_grant(ask, ruled, judge.world)
        )
        answer = Decided(
            decision=sign(self._key, ruled.decision),
            effective=dict(ruled.ruling.effective),
            look=None if grant is None else sign(self._key, grant),
            needs=ruled.sources,
        )
        return answer, ruled

    async def _report_forged(
        self, ask: Ask, answer: Callable[[Ask], Awaitable[tuple[Struct, RuledRequest]]]
    ) -> tuple[Struct, RuledRequest]:
        """The answer. What no true executor would ask becomes a security event, which policy itself records."""
        try:
            return await answer(ask)
        except ForgedStart as error:
            self._security.tell(FORGED, str(error), ask.subject.operation_id, ask.subject.principal)
            raise

    async def _known_facts(self, ask: Decide | AskGrant, judge: Judge) -> KnownFacts:
        known = listed(ask.facts, ask.subject, judge.world, self._key.public, judge.now)
        scanners = judge.world.scanners.get(ask.subject.operation)
        return await self._scans.add(known, ask.subject.target, scanners) if scanners else known

    async def _handle(
        self,
        endpoint: str,
        message: Message,
        kind: type[Ask],
        answer: Callable[[Ask], Awaitable[tuple[Struct, RuledRequest]]],
        otherwise: Callable[..., Struct],
    ) -> bytes:
        started = time.perf_counter()
        fields: dict[str, Any] = {}
        outcome, code = "ok", ""
        try:
            ask = wire.decode(message.data, kind)
            reply, ruled = await self._report_forged(ask, answer)
            fields = self._measures.decided(ruled) if not ruled.ruling.needs else {}  # that is half a decision
        except WritError as error:
            code, outcome = error.code, "refused" if isinstance(error, Invalid | Untrusted | Denied) else "failed"
            reply = otherwise(error=_failure(error))
        except Exception as error:  # noqa: BLE001 - the last frame before the wire: a defect denies, and is told
            _log.error(f"{endpoint}.crashed", exception=error)
            code, outcome = "internal", "failed"
            reply = otherwise(error=Failure(code=code, message="a defect in policy: see its log"))
        seconds = time.perf_counter() - started
        self._observe(Handled(endpoint=endpoint, outcome=outcome, seconds=seconds, code=code, fields=fields))
        return wire.encode(reply)


def _failure(error: WritError) -> Failure:
    found = [Problem(line=line, column=column, message=text) for line, column, text in getattr(error, "problems", ())]
    return Failure(code=error.code, message=str(error)[:1000], retry=error.retry, problems=found)
