"""Claims: an agent requests a start. Policy decides again, records the start and grants it; the grant is passed on with
sealed parameters.

A repeated claim gets the same grant again, since a reply may get lost. Two claims never both start.
"""

from typing import Any, TypeGuard

from writ_bus import tasks, tracing
from writ_bus.port import Message
from writ_contracts import subjects
from writ_contracts.agents import LARGEST_CLAIM, Claim, ClaimMessage
from writ_contracts.decisions import DecideRequest, Decision, Grant, GrantRequest
from writ_contracts.errors import Conflict, Denied, Invalid, Unreachable, Untrusted
from writ_contracts.installation.agent_hosts import check_host
from writ_contracts.inventory import Target
from writ_contracts.journal import Outcome, Requested
from writ_contracts.large_texts import large_texts
from writ_contracts.life import DispatchedLife, GrantedLife, Life, State
from writ_contracts.operations import Catalogue, Operation
from writ_contracts.people.approvals import SignedApproval
from writ_contracts.signing import Signed
from writ_contracts.wire import decode
from writ_executor.agents.alarms import SecurityEventRecorder
from writ_executor.agents.key_use import AgentKeyUse
from writ_executor.agents.keys import AgentKeys
from writ_executor.agents.presence import AgentPresence
from writ_executor.agents.signed_statements import AgentStatements
from writ_executor.agents.targets import Targets
from writ_executor.journal.audit_level import AuditDetail
from writ_executor.journal.hidden_values import ParametersLost, Vault
from writ_executor.journal.index import Index
from writ_executor.journal.lookup import OperationTable
from writ_executor.journal.recorder import ATTEMPTS, Recorder
from writ_executor.journal.shared_keys import OperationKeys
from writ_executor.journal.stored_parameters import HiddenParameters
from writ_executor.journal.traces import going_on
from writ_executor.metrics import ExecutorMeasures
from writ_executor.policy.client import CheckedDecision, PolicyClient
from writ_executor.policy.effective_parameters import ALTERED
from writ_executor.policy.recorded_request import subject_of
from writ_executor.steps.outcomes import OutcomeRecorder
from writ_executor.steps.parameter_seal import EncodedClaimReply, ParameterSeal, Sealed
from writ_executor.steps.received_claims import ReceivedClaim, received_claim
from writ_runtime.endpoint_frame import Reply
from writ_runtime.faults import fault
from writ_runtime.journal.journal_guard import JournalGuard
from writ_trust.approvals import approval_digest
from writ_trust.digests import parameters_digest, same
from writ_trust.sealing import has_aes
from writ_trust.statements import read

CHANGED_PRINCIPAL = frozenset({"unknown_principal", "key_mismatch"})
"""Codes by which policy refuses the start of an operation whose principal was removed or has a new key since the
request. At the request they are security events.
"""


class ClaimEndpoint:
    """Serves `writ.claim.<pool>`."""

    def __init__(
        self,
        statements: AgentStatements,
        index: Index,
        catalogue: Catalogue,
        keys: AgentKeys,
        targets: Targets,
        lives: OperationTable,
        recorder: Recorder,
        vault: Vault,
        policy: PolicyClient,
        outcomes: OutcomeRecorder,
        presence: AgentPresence,
        key_use: AgentKeyUse,
        alarms: SecurityEventRecorder,
        audit_detail: AuditDetail,
        measures: ExecutorMeasures,
        guard: JournalGuard,
    ) -> None:
        self._statements = statements
        self._index = index
        self._catalogue = catalogue
        self._keys = keys
        self._targets = targets
        self._lives = lives
        self._recorder = recorder
        self._vault = vault
        self._policy = policy
        self._outcomes = outcomes
        self._presence = presence
        self._key_use = key_use
        self._alarms = alarms
        self._audit_detail = audit_detail
        self._measures = measures
        self._guard = guard
        self._encrypts_apart = has_aes()

    async def handle_claim(self, message: Message) -> EncodedClaimReply | Reply:
        """Return the grant with its sealed parameters, or the refusal. Raises WritError for an invalid claim.

        Policy checks the claim's signature before it grants. On paths without policy it is checked here.
        """
        self._guard.require_known()
        body = decode(message.data, ClaimMessage, limit=LARGEST_CLAIM)
        pool = subjects.parse_pool(message.subject)
        try:
            claim = read(body.claim, Claim)
            if claim.pool != pool:
                raise Untrusted(f"it names pool {claim.pool}")
        except Untrusted as error:
            raise await self._statements.refused(pool, Claim, str(error)) from error
        received = received_claim(body.claim, claim, message.headers, encrypts_apart=self._encrypts_apart)
        return await self._start_or_repeat(body.principal, received, pool)

    async def _start_or_repeat(self, principal: str, received: ReceivedClaim, pool: str) -> EncodedClaimReply | Reply:
        claim = received.claim
        life = self._lives.cached(principal, claim.operation_id)
        for _ in range(ATTEMPTS):
            if life is None or not _waits_for(life, claim):  # the journal alone shows that it no longer waits
                await self._check(received, pool)
                life = await self._with_dispatch(principal, claim)
            if not _waits_for(life, claim):
                return await self._repeat(life, received)
            try:
                with going_on(life):
                    return await self._start(life, received)
            except Conflict:
                life = None  # another writer was first: read the life again
        raise Conflict(f"{claim.operation_id} changed {ATTEMPTS} times")

    async def _with_dispatch(self, principal: str, claim: Claim) -> Life:
        """Return the operation as the journal has it now. Raises Unreachable if the claimed dispatch is not there yet:
        another server of a cluster may deliver it before the stream's leader has stored it.
        """
        try:
            life = await self._lives.fresh(principal, claim.operation_id)
        except Invalid as error:
            if error.code != "not_found":  # an event that cannot be read, now or later
                raise
            # A read may be dispatched together with its request.
            raise Unreachable(f"{error} yet: claim it again") from error
        dispatched = life.dispatched.attempt if isinstance(life, DispatchedLife) else 0
        if life.open and dispatched < claim.attempt:
            raise Unreachable(f"dispatch {claim.attempt} of {claim.operation_id} is not stored yet: claim it again")
        return life

    async def _check(self, received: ReceivedClaim, pool: str) -> None:
        """Raises Untrusted, and records it, unless an agent of the pool signed the claim."""
        signed = received.signed
        claim = await self._statements.open(pool, signed, Claim)
        try:
            check_host(claim, signed.key, self._keys.hosts)
        except Untrusted as error:
            raise await self._statements.refused(pool, Claim, str(error)) from error
        await self._key_use.claim(pool, claim.instance, received.started, signed.key)

    async def _start(self, life: DispatchedLife, received: ReceivedClaim) -> EncodedClaimReply | Reply:
        requested, claim, signed = life.requested, received.claim, received.signed
        self._definition(requested)  # before anything starts: without it the grant could not be repeated
        parameters = await self._parameters(life, received)
        keys = self._vault.keys_of(requested)
        sealing = _sealing(requested, received, parameters, keys)
        try:
            granted = await self._grant(requested, parameters.values, keys, received, sealing)
        except Untrusted as error:  # policy may know other keys than this replica: an alarm needs a key unknown to both
            await self._check(received, requested.pool)
            if error.code == ALTERED:
                await self._recorder.security_of(error, requested.operation_id, requested.principal)
            raise
        except Invalid as error:  # the request is no longer valid: its principal or target was removed
            await self._check(received, requested.pool)
            if error.code not in CHANGED_PRINCIPAL:
                await self._recorder.security_of(error, requested.operation_id, requested.principal)
            raise await self._denied(life, received, error.code, str(error)) from error
        if granted.grant is None or granted.grant_body is None:
            code = granted.decision.code
            raise await self._denied(life, received, code, granted.decision.reason, granted.signed)
        await self._check_target(requested, granted.grant_body.target)
        fault("executor.granted")
        self._presence.start_lease(requested.pool, requested.operation_id)
        await self._key_use.claim(requested.pool, claim.instance, received.started, signed.key)
        tracing.note({"operation_id": requested.operation_id, "principal": requested.principal})
        self._measures.granted(requested, life.dispatched, granted.grant_body)
        people, effective = await self._policy.people(granted.grant_body), dict(granted.effective)
        left_out = granted.decision.left_out
        return self._reply(granted.grant, sealing.of(effective), granted.approvals, people, left_out)

    async def _grant(
        self,
        requested: Requested,
        parameters: dict[str, Any],
        keys: OperationKeys,
        received: ReceivedClaim,
        sealing: ParameterSeal,
    ) -> CheckedDecision:
        """Request a grant from policy, and seal the parameters meanwhile. Policy reads the last control event itself,
        and records the start before it replies.
        """
        request = GrantRequest(
            subject=subject_of(requested, parameters, keys.parameters),
            claim=received.signed,
            control_sequence=self._index.control_sequence,
            look_key=keys.read_grant,
            traced=self._audit_detail.traced,
            values=self._audit_detail.values,
        )
        tasks.soon(sealing.prepare)
        left_out = read(requested.decision, Decision).left_out if large_texts(parameters) else []
        return await self._policy.grant(request, requested.parameters_digest, left_out)

    async def _parameters(self, life: DispatchedLife, received: ReceivedClaim) -> HiddenParameters:
        try:
            return await self._vault.hidden(life.requested)
        except ParametersLost as error:
            await self._end(life, received, "failed", error.code, f"nothing was run: {error}")
            raise Denied(str(error), code="gone") from error

    def _definition(self, requested: Requested) -> Operation:
        try:
            return self._catalogue.find(requested.operation)
        except Invalid as error:  # another replica took the request: it has the plugin
            raise Unreachable(f"this executor has no operation {requested.operation}") from error

    async def _denied(
        self, life: DispatchedLife, received: ReceivedClaim, code: str, reason: str, decision: Signed | None = None
    ) -> Denied:
        """End the operation `denied`, or `stale` if it changed since its request. Return the error for the agent."""
        outcome: Outcome = "stale" if code == "stale" else "denied"
        await self._end(life, received, outcome, code, f"at its start: {reason}", decision)
        return Denied(reason, code=code)

    async def _end(
        self,
        life: DispatchedLife,
        received: ReceivedClaim,
        outcome: Outcome,
        code: str,
        message: str,
        decision: Signed | None = None,
    ) -> None:
        """End the operation before it began, after a check of the claim: policy may not have made one yet."""
        await self._check(received, life.requested.pool)
        await self._outcomes.not_started(life, outcome, code, message, decision)

    async def _repeat(self, life: Life, received: ReceivedClaim) -> EncodedClaimReply | Reply:
        """Return the grant of an earlier delivery of this claim; any other claim gets `gone`."""
        claim = received.claim
        under_way = life.state in (State.STARTED, State.CANCELLING)
        if not under_way or not isinstance(life, GrantedLife) or life.started.claim != received.signed:
            raise Denied(f"{claim.operation_id} is {life.state}: there is nothing to start", code="gone")
        started, requested, grant = life.started, life.requested, read(life.started.grant, Grant)
        await self._check_target(requested, grant.target)
        parameters = await self._vault.hidden(requested)
        effective = await self._granted_parameters(life, grant, parameters.values)
        approvals = [one for one in life.approvals if approval_digest(one) in grant.approvals]
        people = await self._policy.people(grant)
        sealing = _sealing(requested, received, parameters, self._vault.keys_of(requested))
        left_out = read(started.decision, Decision).left_out
        return self._reply(started.grant, sealing.of(effective), approvals, people, left_out)

    async def _granted_parameters(self, life: GrantedLife, grant: Grant, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the effective parameters of a grant on record. The record lacks what a rule has filled in for a hidden
        parameter, so policy fills it in again. Raises Denied (`gone`) where policy now fills in another value.
        """
        requested = life.requested
        effective = self._definition(requested).check({**life.started.parameters, **parameters})
        keys = self._vault.keys_of(requested)
        by_digest = read(life.started.decision, Decision).left_out
        if same(parameters_digest(keys.parameters, effective, by_digest), grant.parameters_digest):
            return effective
        question = DecideRequest(
            subject=subject_of(requested, parameters, keys.parameters),
            control_sequence=self._index.control_sequence,
            look_key=keys.read_grant,
        )
        decided = await self._policy.decide(question)
        effective = {**parameters, **decided.effective}  # unchecked if policy denies by now
        if not same(parameters_digest(keys.parameters, effective, by_digest), grant.parameters_digest):
            raise Denied(f"the parameters granted to {requested.operation_id} are not known any more", code="gone")
        return effective

    async def _check_target(self, requested: Requested, granted: Target) -> None:
        """Raises Unreachable, and records it, unless the grant's target is the one of this replica's own inventory: a
        thief of policy's key would grant other file roots.
        """
        if await self._targets.is_granted(requested.target, granted):
            return
        detail = f"policy's grant for {requested.operation_id} has another target {granted.id} than the inventory"
        await self._alarms.raised(
            requested.pool,
            ALTERED,
            detail,
            operation_id=requested.operation_id,
            principal=requested.principal,
            correlation_id=requested.correlation_id,
        )
        raise Unreachable(detail, code=ALTERED)

    def _reply(
        self,
        grant: Signed,
        sealed: Sealed,
        approvals: list[SignedApproval],
        people: Signed | None,
        by_digest: list[str],
    ) -> EncodedClaimReply | Reply:
        body = EncodedClaimReply(
            grant=grant,
            sealed=sealed.parameters,
            outputs=self._audit_detail.outputs,
            approvals=approvals,
            people=people,
            by_digest=by_digest,
            attaches=self._vault.all_read_attached(),
        )
        return Reply(body, attached=sealed.texts) if sealed.texts else body


def _sealing(
    requested: Requested, received: ReceivedClaim, parameters: HiddenParameters, keys: OperationKeys
) -> ParameterSeal:
    return ParameterSeal(received.claim.seal_to, keys.parameters, requested, parameters, apart=received.apart)


def _waits_for(life: Life, claim: Claim) -> TypeGuard[DispatchedLife]:
    """Return whether the operation waits for just this claim. Its deadline is the sweep's business."""
    if life.state is not State.DISPATCHED or not isinstance(life, DispatchedLife):
        return False
    return life.dispatched.attempt == claim.attempt and life.requested.pool == claim.pool
