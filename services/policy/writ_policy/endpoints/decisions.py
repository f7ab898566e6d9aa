"""The endpoints `decide`, `record_read` and `grant`: decode, catch up, judge, sign, encode.

Each path has one answer and one record.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from msgspec import Struct, structs

from writ_bus.port import Bus, Endpoint, Journal, Message
from writ_contracts import subjects, wire
from writ_contracts.catalogue.control import AUDIT_READ, BACKEND_TEST
from writ_contracts.decisions import (
    OMIT_HEADER,
    OMIT_UNCHANGED,
    DecideReply,
    DecideRequest,
    GrantReply,
    GrantRequest,
    RecordReadRequest,
    Subject,
)
from writ_contracts.ids import WRIT_TARGET
from writ_contracts.version import LEVEL
from writ_policy.decisions.control_checks import CHECKS
from writ_policy.decisions.facts import KnownFacts, listed
from writ_policy.decisions.grants import read_grant, target_test_grant
from writ_policy.decisions.judge_factory import JudgeFactory
from writ_policy.decisions.kept_texts import KeptTexts
from writ_policy.decisions.left_out_texts import check_left_out, check_plain, with_stand_ins, without_left_out
from writ_policy.decisions.rulings import Judge, RuledRequest
from writ_policy.decisions.signer import DecisionSigner
from writ_policy.endpoints.scans import Scans
from writ_policy.grant_endpoint import GrantEndpoint
from writ_policy.metrics import PolicyMeasures
from writ_policy.starts import FORGED, ForgedStart, SetForward, with_own_parameters
from writ_policy.versions.proposed_versions import CHANGES, ProposedVersions
from writ_policy.windows.open_windows import OpenWindows
from writ_runtime.endpoint_frame import Reply, Respond, endpoint_handler
from writ_runtime.files.policy_keys import PolicyKeys
from writ_runtime.journal.security_events import SecurityEvents
from writ_runtime.logs import Log
from writ_runtime.metrics import Observer
from writ_trust.keys import Key
from writ_trust.statements import sign

CONCURRENCY = 256
Ask = TypeVar("Ask", DecideRequest, GrantRequest)
Answer = TypeVar("Answer", DecideReply, GrantReply)
Clock = Callable[[], float]

_log = Log("writ.policy")


class DecisionEndpoints:
    """One method for each endpoint."""

    def __init__(
        self,
        journal: Journal,
        judging: JudgeFactory,
        proposed: ProposedVersions,
        scans: Scans,
        key: Key,
        signer: DecisionSigner,
        keys: PolicyKeys,
        security: SecurityEvents,
        measures: PolicyMeasures,
        observe: Observer,
        windows: OpenWindows,
        bus: Bus,
        set_forward: SetForward,
    ) -> None:
        self._windows = windows
        self._granting = GrantEndpoint(
            journal, judging, self._known_facts, key, signer, keys.events, windows, bus, set_forward
        )
        self._security = security
        self._judging = judging
        self._scans = scans
        self._proposed = proposed
        self._key = key
        self._signer = signer
        self._keys = keys
        self._measures = measures
        self._observe = observe
        self._texts = KeptTexts(judging.digests)

    def endpoints(self) -> list[Endpoint]:
        """Return the endpoints for services."""
        decide = self._responder("decide", _decide_request, self._decide, DecideReply)
        record_read = self._responder("record_read", _record_read, self._decide, DecideReply)
        grant = self._responder("grant", self._grant_request, self._grant, GrantReply)
        return [
            Endpoint(name="decide", subject=subjects.POLICY_DECIDE, handler=decide, concurrency=CONCURRENCY),
            Endpoint(
                name="record_read", subject=subjects.POLICY_RECORD_READ, handler=record_read, concurrency=CONCURRENCY
            ),
            Endpoint(name="grant", subject=subjects.POLICY_GRANT, handler=grant, concurrency=CONCURRENCY),
        ]

    def _grant_request(self, data: bytes) -> GrantRequest:
        ask = self._texts.completed(wire.decode(data, GrantRequest))
        return structs.replace(ask, subject=with_stand_ins(ask.subject)) if ask.subject.texts else ask

    async def _grant(self, ask: GrantRequest) -> tuple[GrantReply, RuledRequest]:
        reply, ruled = await self._granting.grant(ask)
        if reply.grant is not None:
            self._texts.drop(ask)
        return reply, ruled

    async def _decide(self, ask: DecideRequest, *, checked: bool = False) -> tuple[DecideReply, RuledRequest]:
        """Decide. `checked`: the policy that it proposes has passed its check."""
        judge = await self._judging.at(ask.control_sequence, ask.stored_policies, ask.subject.target)
        if ask.subject.operation in CHECKS:  # an id that another executor's event made a moment ago is not unknown
            judge = await self._judging.now()
        if ask.subject.texts:
            check_left_out(ask, judge.catalogue.find(ask.subject.operation), judge.snapshot.policy)
        counted, known = await self._granting.recorded(ask, judge), await self._known_facts(ask, judge)
        recorded = counted is not None and ask.subject.statement is not None
        rule = partial(judge.rule, ask.subject, known, recorded=recorded, traced=ask.traced)
        ruled = await self._windows.apply(judge, ask.subject, rule(approvals=counted), rule)
        if ask.subject.simulate or ruled.decision.dry_run:  # nothing starts later, when the claim would name aliases
            ruled = judge.under_listed_names(ruled)
        if ask.subject.operation in CHANGES and ruled.ruling.effect != "deny" and not checked:
            await self._check_proposed(ask.subject, ruled, judge)
            return await self._decide(ask, checked=True)  # the check may have taken half a minute
        check_plain(ask.subject, ruled.decision)
        self._texts.keep(ask.subject, ruled.decision)
        grant = (
            target_test_grant(ask, ruled, judge.snapshot, judge.plugins)
            if ask.subject.operation == BACKEND_TEST
            else read_grant(ask, ruled, judge.snapshot, quoting="preview" in ask.look and judge.may_quote(ruled))
        )
        reply = DecideReply(
            decision=self._signer.sign(with_own_parameters(ask.subject, ruled.decision, judge.keyed_digest)),
            effective=dict(ruled.ruling.effective),
            look=None if grant is None else sign(self._key, grant),
            needs=ruled.sources,
            level=LEVEL,
        )
        return reply, ruled

    async def _check_proposed(self, subject: Subject, ruled: RuledRequest, judge: Judge) -> None:
        """Check the policy that would come into force. Raises Invalid or WritError where it must not, or may not."""
        comes = ruled.ruling.effect == "allow" and not ruled.decision.dry_run and not subject.simulate
        people = judge.snapshot.principals, judge.snapshot.people
        await self._proposed.check(subject.operation, subject.parameters, *people, judge.now, compiles=comes)

    async def _known_facts(self, ask: DecideRequest | GrantRequest, judge: Judge) -> KnownFacts:
        known = listed(ask.facts, ask.subject, judge.snapshot, self._keys.live, judge.now)
        scanners = judge.snapshot.scanners.get(ask.subject.operation)
        return await self._scans.add(known, ask.subject.target, scanners) if scanners else known

    def _responder(
        self,
        endpoint: str,
        decode: Callable[[bytes], Ask],
        respond: Callable[[Ask], Awaitable[tuple[Answer, RuledRequest]]],
        refused: Callable[..., Struct],
    ) -> Respond:
        async def handle(message: Message) -> Reply:
            ask = decode(message.data)
            try:
                body, ruled = await respond(ask)
            except ForgedStart as error:  # no honest executor sends this, so policy records it itself
                self._security.report(FORGED, str(error), ask.subject.operation_id, ask.subject.principal)
                raise
            if ask.subject.texts:
                body = structs.replace(body, effective=without_left_out(body.effective, ask.subject))
            if message.headers.get(OMIT_HEADER) == OMIT_UNCHANGED:
                effective = without_unchanged_texts(body.effective, ask.subject.parameters)
                body = structs.replace(body, effective=effective)
            if ruled.ruling.needs:  # not final: the decision is counted once its facts are here
                return Reply(body)
            return Reply(body, self._measures.decided(ruled))

        return endpoint_handler(endpoint, handle, refused, self._observe, _log)


def _decide_request(data: bytes) -> DecideRequest:
    ask = wire.decode(data, DecideRequest)
    return structs.replace(ask, subject=with_stand_ins(ask.subject)) if ask.subject.texts else ask


def _record_read(data: bytes) -> DecideRequest:
    """Return audit's request as one for a decision on `audit_read`, without a read grant."""
    request = wire.decode(data, RecordReadRequest)
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
    return DecideRequest(subject=subject, control_sequence=request.control_sequence)


def without_unchanged_texts(effective: Mapping[str, Any], requested: Mapping[str, Any]) -> dict[str, Any]:
    """Return the effective parameters without texts equal to the requested ones.

    Other values stay: equal ones may differ as JSON, such as 1 and 1.0.
    """
    return {
        name: value
        for name, value in effective.items()
        if not isinstance(value, str) or name not in requested or requested[name] != value
    }
