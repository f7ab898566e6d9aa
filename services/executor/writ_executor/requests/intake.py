"""The intake of requests: decode, have decided, record, hand on. `RequestEndpoint.handle_request` is the whole path.

An invalid request gets one clear answer and an event in the journal. A request without a record was not accepted.
"""

import asyncio
from typing import Any

from msgspec import structs

from writ_bus import tasks
from writ_bus.port import Message
from writ_contracts.decisions import DecideRequest, Subject
from writ_contracts.errors import Conflict, Invalid, Unreachable, Untrusted
from writ_contracts.inventory import WRIT, Target
from writ_contracts.journal import Refused, Requested
from writ_contracts.life import Life, is_open
from writ_contracts.operations import Catalogue
from writ_contracts.requests import Failure, RequestReply
from writ_contracts.subjects import parse_request, printable
from writ_executor.admission.admission import Admission
from writ_executor.agents.targets import Targets
from writ_executor.config import ExecutorConfig
from writ_executor.journal.audit_level import LEVELS
from writ_executor.journal.hidden_values import Vault, known_fingerprints
from writ_executor.journal.index import Index
from writ_executor.journal.lookup import OperationTable
from writ_executor.journal.recorder import Recorder
from writ_executor.journal.search_digests import hidden_digests
from writ_executor.journal.stored_parameters import PreparedParameters
from writ_executor.policy.client import CheckedDecision, PolicyClient
from writ_executor.requests.attempt import (
    Attempt,
    CheckedAttempt,
    DecodedAttempt,
    checked,
    chosen_id,
    claimed_target,
    decoded,
    new_attempt,
    read_request,
)
from writ_executor.requests.denials import denial_of
from writ_executor.requests.early_storage import EarlyCopy, EarlyStorage
from writ_executor.requests.screening import RequestScreening
from writ_executor.requests.views import reply_of, verdict, with_problems
from writ_executor.rounds.accepted_operations import AcceptedOperations
from writ_executor.steps.dispatch import Dispatcher
from writ_executor.steps.parameter_retention import seconds_kept
from writ_runtime.faults import fault
from writ_runtime.journal.journal_guard import JournalGuard
from writ_trust.digests import same


class RequestEndpoint:
    """Serves `writ.request.<principal>.<operation>`."""

    def __init__(
        self,
        config: ExecutorConfig,
        catalogue: Catalogue,
        targets: Targets,
        screening: RequestScreening,
        index: Index,
        admission: Admission,
        recorder: Recorder,
        lives: OperationTable,
        vault: Vault,
        early: EarlyStorage,
        policy: PolicyClient,
        accepted: AcceptedOperations,
        dispatcher: Dispatcher,
        guard: JournalGuard,
    ) -> None:
        self._config = config
        self._audit_detail = LEVELS[config.audit_level]
        self._catalogue = catalogue
        self._targets = targets
        self._screening = screening
        self._index = index
        self._admission = admission
        self._recorder = recorder
        self._lives = lives
        self._vault = vault
        self._early = early
        self._policy = policy
        self._accepted = accepted
        self._dispatcher = dispatcher
        self._guard = guard

    async def handle_request(self, message: Message) -> RequestReply:
        """Return the one answer. Raises WritError for refusals without an event."""
        self._guard.require_known()
        principal, operation = parse_request(message.subject)
        self._admission.rate(principal)
        self._targets.begin_refresh()
        # `attempt`: as far as the request was understood, for the record of an error.
        received = attempt = new_attempt(principal, operation, message)
        try:
            attempt = read = self._decode(received, message)
            attempt = request = checked(read, self._catalogue.find(operation))
            earlier = self._earlier(request)
            if earlier is not None:
                return earlier
            owner = await self._screening.screen(
                principal, request.key, request.definition, request.target, request.parameters
            )
            self._admission.session_rate(principal, operation)
            prepared = self._vault.prepared(request.parameters, request.texts)
            with self._early.copy() as early:
                decided, request = await self._decided(self._question(request, owner), request, prepared, early)
                denial = denial_of(request, decided.decision)
                if denial is not None:
                    return await self._deny(request, decided, *denial)
                return await self._accept(request, decided, prepared, early)
        except Untrusted as error:
            await self._recorder.security_of(error, attempt.operation_id, attempt.principal, attempt.correlation_id)
            raise
        except Unreachable as error:
            earlier = await self._was_before(attempt, error)
            if earlier is None:
                raise
            return earlier
        except Invalid as error:
            if attempt is received:
                attempt = structs.replace(attempt, target=claimed_target(message))
            return await self._refuse(attempt, error)

    def _decode(self, attempt: Attempt, message: Message) -> DecodedAttempt:
        request, others = read_request(message)
        request = structs.replace(request, dry_run=self._screening.dry(request.dry_run))
        keys = self._vault.new_keys(chosen_id(attempt, request))
        read = decoded(attempt, request, keys, others)
        if not (self._policy.leaves_out_texts() and read.is_unsigned(self._catalogue.get(attempt.operation))):
            read.texts.check_size(keep=True)
        return read

    def _earlier(self, attempt: DecodedAttempt) -> RequestReply | None:
        """Return the answer to an identical earlier request, if its operation is known without reading the journal."""
        life = self._lives.known(attempt.operation_id)
        return None if life is None else self._again(attempt.with_fingerprint(), life)

    async def _was_before(self, attempt: Attempt, error: Unreachable) -> RequestReply | None:
        """Return the answer to an identical earlier request. None if there is none, or if the error is not that
        something could not be stored: an earlier request needs nothing stored.
        """
        if error.code != "not_stored" or not isinstance(attempt, DecodedAttempt):
            return None
        try:
            life = await self._lives.fresh(attempt.principal, attempt.operation_id)
        except Invalid:  # there is none
            return None
        return self._again(attempt.with_fingerprint(), life)

    def _again(self, attempt: Attempt, life: Life) -> RequestReply:
        what = life.what
        if not self._repeats(attempt, what.fingerprint if what else ""):
            failure = Failure(
                code="conflict",
                message=f"idempotency key already used for another request, operation {attempt.operation_id}",
            )
            return RequestReply(operation_id=attempt.operation_id, correlation_id=attempt.correlation_id, error=failure)
        return reply_of(life)

    def _repeats(self, attempt: Attempt, recorded: str) -> bool:
        """Return whether a recorded fingerprint is of this request, under whichever shared key."""
        if same(recorded, attempt.fingerprint):
            return True
        if not isinstance(attempt, DecodedAttempt):
            return False
        keys = self._vault.all_keys(attempt.operation_id)
        request = attempt.request
        about = (attempt.operation, request.target, request.parameters, request.dry_run)
        return any(same(recorded, known) for one in keys for known in known_fingerprints(one, *about))

    def _question(self, attempt: CheckedAttempt, owner: str | None) -> DecideRequest:
        request = attempt.request
        subject = Subject(
            operation_id=attempt.operation_id,
            principal=attempt.principal,
            key=attempt.key,
            operation=attempt.operation,
            target=request.target,
            parameters=attempt.parameters,
            parameters_key=attempt.keys.parameters,
            dry_run=request.dry_run,
            idempotency_key=request.idempotency_key,
            statement=request.statement,
            salt=request.salt,
            presence=request.presence,
            reason=request.reason,
            owner=owner,
        )
        definition = attempt.definition
        readable = (definition.baseline or definition.ahead) and not request.dry_run
        return DecideRequest(
            subject=subject,
            control_sequence=self._index.control_sequence,
            look=["baseline"] if readable and definition.baseline else [],
            look_until=self._start_by() if readable else None,
            look_key=attempt.keys.read_grant,
            traced=self._audit_detail.traced,
        )

    def _start_by(self) -> float:
        return self._recorder.clock() + self._config.queue_window

    async def _decided(
        self, question: DecideRequest, attempt: CheckedAttempt, prepared: PreparedParameters, early: EarlyCopy
    ) -> tuple[CheckedDecision, CheckedAttempt]:
        """Return policy's decision, and the attempt with its fingerprint. Large parameters are stored meanwhile."""
        if not attempt.texts.texts:
            return await self._policy.decide(question), attempt
        asking = self._policy.decide(question, attempt.texts, attempt.unsigned_texts(attempt.definition))
        deciding = tasks.start(asking, "decide")
        try:
            await asyncio.sleep(0)  # the question is sent
            fingerprinted = attempt.with_fingerprint()
            await asyncio.sleep(0)  # the rest of it, which the socket did not take at once
            prepared.encrypt()
            early.begin(fingerprinted, prepared)
            await asyncio.sleep(0)  # it is sent to the store
            if not deciding.done():  # a denial has dropped what would be kept here
                self._policy.expect(question.subject, attempt.definition.check(attempt.parameters), attempt.texts)
            return await deciding, fingerprinted
        finally:
            deciding.cancel()
            del deciding  # its error has a traceback with this frame: the cycle would keep the texts

    async def _accept(
        self, attempt: CheckedAttempt, decided: CheckedDecision, prepared: PreparedParameters, early: EarlyCopy
    ) -> RequestReply:
        definition = attempt.definition
        self._admission.storage(definition, output_apart=not self._audit_detail.keeps_output(definition))
        target = WRIT if definition.control else await self._targets.find(attempt.target)
        event = self._requested(attempt, decided, target)
        if event.hidden:
            event = structs.replace(event, hidden_bytes=prepared.encrypt().plain_bytes)
        event = self._dispatcher.at_once(event)
        await self._dispatcher.give_notice(event)
        attempt.texts.check_size(keep=False)  # while they are stored: it may take a millisecond
        keep = seconds_kept(decided.decision, event.timeout, self._config)
        stored = await early.lasts(keep)
        with self._admission.reserve(event, control=definition.control):
            if event.hidden and not stored:
                await self._vault.store(event, prepared, keep)
            early.keep(attempt)
            fault("executor.params_kept")
            try:
                life = await self._recorder.append(Life(), event)
            except Conflict:
                return await self._was_there(attempt, event)
        return reply_of(await self._accepted.begin_recorded(life))

    async def _was_there(self, attempt: Attempt, event: Requested) -> RequestReply:
        life = await self._lives.fresh(attempt.principal, attempt.operation_id)
        if not is_open(life) or life.requested.fingerprint != event.fingerprint:
            await self._vault.forget(event)  # the kept parameters belong to no operation
        return self._again(attempt, life)

    def _requested(self, attempt: CheckedAttempt, decided: CheckedDecision, target: Target) -> Requested:
        definition, request, decision = attempt.definition, attempt.request, decided.decision
        values = self._recorded_values(attempt, decided)
        ahead = decided.look if definition.ahead and values["effective"] == decided.effective else None
        look = None if definition.ahead else decided.look
        return Requested(
            **(stamp := self._recorder.stamp(attempt.correlation_id)),
            operation_id=attempt.operation_id,
            principal=attempt.principal,
            operation=attempt.operation,
            target=target.id,
            pool=target.pool,
            risk=definition.risk,
            idempotent=definition.idempotent,
            key=attempt.key,
            **values,
            parameters_digest=decision.parameters_digest,
            fingerprint=attempt.fingerprint,
            verdict=verdict(decision),
            decision=decided.signed,
            timeout=decision.timeout or definition.default_timeout,
            start_by=stamp["at"] + self._config.queue_window,
            acts_for=decision.acts_for,
            reason=request.reason,
            dry_run=request.dry_run,
            idempotency_key=request.idempotency_key,
            statement=request.statement,
            salt=request.salt,
            presence=request.presence,
            look=look,
            look_key=attempt.keys.read_grant if look or ahead else "",
            ahead=ahead,
            limits=decision.limits,
            client=request.client,
            parameter_key=attempt.keys.key_id,
        )

    def _recorded_values(self, attempt: CheckedAttempt, decided: CheckedDecision) -> dict[str, Any]:
        definition = attempt.definition
        shown, hidden = self._audit_detail.sent(definition, attempt.parameters)
        effective = self._audit_detail.effective(definition, decided.effective)
        recorded, values = {**effective, **shown}, {**decided.effective, **attempt.parameters}
        digests = hidden_digests(attempt.keys, definition, recorded, values)
        return {"parameters": shown, "effective": effective, "hidden": hidden, "search_digests": digests}

    async def _deny(self, attempt: CheckedAttempt, decided: CheckedDecision, code: str, reason: str) -> RequestReply:
        event = Refused(
            **self._refusal(attempt, code, reason),
            outcome="denied",
            verdict=verdict(decided.decision),
            decision=decided.signed,
            acts_for=decided.decision.acts_for,
        )
        return await self._record(attempt, event)

    async def _refuse(self, attempt: Attempt, error: Invalid) -> RequestReply:
        if isinstance(attempt, DecodedAttempt):
            attempt = attempt.with_fingerprint()
        event = Refused(**self._refusal(attempt, error.code, str(error)[:2000]), outcome="invalid")
        answered = await self._record(attempt, event)
        if answered.operation_id is not None:  # a refusal without an event raises no alarm either
            await self._recorder.security_of(error, attempt.operation_id, attempt.principal, attempt.correlation_id)
        return with_problems(answered, error)

    async def _record(self, attempt: Attempt, event: Refused) -> RequestReply:
        if not self._admission.records(event):
            failure = Failure(code=event.code, message=event.message)
            return RequestReply(
                correlation_id=attempt.correlation_id, outcome=event.outcome, verdict=event.verdict, error=failure
            )
        try:
            return reply_of(await self._recorder.append(Life(), event))
        except Conflict:
            return self._again(attempt, await self._lives.fresh(attempt.principal, attempt.operation_id))

    def _refusal(self, attempt: Attempt, code: str, message: str) -> dict[str, Any]:
        return {
            **self._recorder.stamp(attempt.correlation_id),
            "operation_id": attempt.operation_id,
            "principal": attempt.principal,
            "operation": printable(attempt.operation),
            "target": printable(attempt.target),
            "code": code,
            "message": message,
            "fingerprint": attempt.fingerprint,
            **attempt.recorded(self._audit_detail),
        }
