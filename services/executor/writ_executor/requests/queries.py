"""Queries of requesters: on their own operations, on targets, and on possible decisions. Nothing is recorded."""

import os
import time
from collections.abc import Callable
from typing import TypeVar

from msgspec import structs, to_builtins

from writ_bus.port import Message
from writ_bus.sender import sender_key
from writ_contracts import parameters as params
from writ_contracts import wire
from writ_contracts.decisions import DecideRequest, Subject
from writ_contracts.errors import Denied, Full, Invalid, Untrusted
from writ_contracts.history.audit import JournalQuery, JournalReply
from writ_contracts.history.views import latest, view
from writ_contracts.ids import encode_id
from writ_contracts.life import Life, State
from writ_contracts.operations import Catalogue
from writ_contracts.people.previews import PreviewQuery, PreviewReply
from writ_contracts.requests import (
    OpenQuery,
    OperationQuery,
    OperationReply,
    OperationsReply,
    OperationView,
    ResultReply,
    SimulateQuery,
    SimulateReply,
    TargetsQuery,
    TargetsReply,
)
from writ_contracts.subjects import parse_query
from writ_contracts.target_tests import BackendTestQuery, BackendTestReply
from writ_executor.agents.host_lacks import HostLacks
from writ_executor.agents.targets import Targets
from writ_executor.journal.generations import Generations
from writ_executor.journal.hidden_values import NOT_KEPT, Vault
from writ_executor.journal.index import Index
from writ_executor.journal.lookup import OperationTable
from writ_executor.policy.client import PolicyClient
from writ_executor.requests.backend_tests import BackendTests
from writ_executor.requests.expected_failures import expected_failure
from writ_executor.requests.pages import first_page
from writ_executor.requests.screening import RequestScreening
from writ_executor.requests.views import lacks_output, verdict
from writ_executor.requests.visible import TargetVisibility
from writ_executor.requests.waiting_reasons import WaitingReasons
from writ_runtime.buckets import Buckets
from writ_trust.digests import keyed_digest, same

Query = TypeVar("Query")
FACTS_SECONDS = 300.0
"""How long what policy vouches for on a card opens the details of its preview."""


class QueryEndpoint:
    """Answers `writ.query.<principal>.<kind>`. Each answer type carries its own error."""

    def __init__(
        self,
        catalogue: Catalogue,
        index: Index,
        lives: OperationTable,
        targets: Targets,
        visible: TargetVisibility,
        vault: Vault,
        policy: PolicyClient,
        screening: RequestScreening,
        tests: BackendTests,
        buckets: Buckets,
        generations: Generations,
        waiting: WaitingReasons,
        lacks: HostLacks,
        undecided: Callable[[str], str],
        clock: Callable[[], float],
    ) -> None:
        """`buckets` limits the queries of one principal. `undecided`: why a probe did not find an operation's outcome.
        `clock`: the journal server's time.
        """
        self._catalogue = catalogue
        self._index = index
        self._lives = lives
        self._targets = targets
        self._visible = visible
        self._vault = vault
        self._policy = policy
        self._screening = screening
        self._tests = tests
        self._buckets = buckets
        self._generations = generations
        self._waiting = waiting
        self._lacks = lacks
        self._undecided = undecided
        self._clock = clock

    async def operation(self, message: Message) -> OperationReply:
        principal, query = self._decode_query(message, OperationQuery)
        life = await self._lives.fresh(principal, query.operation_id)
        return OperationReply(operation=self._view(life))

    async def operations(self, message: Message) -> OperationsReply:
        """Return a page of the principal's open operations."""
        principal, query = self._decode_query(message, OpenQuery)
        lives = [life for life in self._index.open_of(principal) if life.first_sequence > query.after]
        views = (view for life in lives if (view := self._view(life)) is not None)
        page, more = first_page(views)
        last = next((life.first_sequence for life in lives if page and _is_of(life, page[-1])), 0)
        return OperationsReply(operations=page, more=more, last=last)

    def _view(self, life: Life) -> OperationView | None:
        shown = view(life, latest(life))
        if shown is None:
            return None
        if life.state is State.UNKNOWN and (reason := self._undecided(shown.operation_id)):
            shown = structs.replace(shown, message=f"{shown.message}; the latest probe: {reason}".removeprefix("; "))
        return structs.replace(shown, waiting=self._waiting.of(life))

    async def result(self, message: Message) -> ResultReply:
        """Return the full output if it is still kept, else the public part."""
        principal, query = self._decode_query(message, OperationQuery)
        life = await self._lives.fresh(principal, query.operation_id)
        shown = view(life, latest(life))
        kept = await self._vault.result(principal, query.operation_id)
        public = shown.output if shown else {}
        lost = kept is None and lacks_output(life, self._clock())
        if lost and not await self._vault.has_result(principal, query.operation_id):
            return ResultReply(output={**public, "note": NOT_KEPT})
        return ResultReply(output=kept if kept is not None else public)

    async def preview(self, message: Message) -> PreviewReply:
        """Return the details of a preview to a reader that policy permits."""
        principal, query = self._decode_query(message, PreviewQuery)
        facts = self._policy.approval_facts(query.facts)
        if facts.reader != principal or not facts.details or facts.preview is None:
            raise Denied(f"policy does not let {principal} read this preview", code="not_approver")
        if abs(self._clock() - facts.issued_at) > FACTS_SECONDS:
            raise Denied("policy's facts for this preview are too old: send the query again", code="expired")
        details = await self._vault.details(facts.operation_id, facts.preview)
        if details is None:
            raise Invalid(f"the details of the preview of {facts.operation_id} have been deleted", code="not_found")
        shown = await self._lives.preview_of(facts.operation_id, facts.preview)
        if not same((shown and shown.details_digest) or "", keyed_digest(details.salt, details.values)):
            raise Untrusted(f"the stored details are not those of the preview of {facts.operation_id}")
        return PreviewReply(details=details)

    async def targets(self, message: Message) -> TargetsReply:
        """Return a page of the inventory, as far as the requester may list it."""
        principal, query = self._decode_query(message, TargetsQuery)
        views = await self._targets.views(query.after)
        page, more = await self._visible.first_page(principal, sender_key(message), views)
        return TargetsReply(targets=page, more=more)

    async def backend_test(self, message: Message) -> BackendTestReply:
        """Have a target tested by its own agents."""
        principal, query = self._decode_query(message, BackendTestQuery)
        return await self._tests.run(principal, message, query)

    async def journal(self, message: Message) -> JournalReply:
        """Return the fill level of the journal and the part which can be archived."""
        _, query = self._decode_query(message, JournalQuery)
        return await self._generations.standing(query.until)

    async def simulate(self, message: Message) -> SimulateReply:
        """Take a request's path up to the decision."""
        principal, query = self._decode_query(message, SimulateQuery)
        definition = self._catalogue.find(query.operation)
        definition.check(query.parameters)
        parameters = dict(query.parameters)
        operation_id = encode_id(os.urandom(16))
        keys = self._vault.new_keys(operation_id)
        subject = Subject(
            operation_id=operation_id,
            principal=principal,
            key=sender_key(message),
            operation=query.operation,
            target=query.target,
            parameters=parameters,
            parameters_key=keys.parameters,
            dry_run=self._screening.dry(query.dry_run),
            owner=await self._screening.screen(principal, sender_key(message), definition, query.target, parameters),
            simulate=True,
        )
        question = DecideRequest(
            subject=subject,
            control_sequence=self._index.control_sequence,
            look_key=keys.read_grant,
        )
        decided = await self._policy.decide(question)
        waiting, fails, tested_at = None, None, None
        if decided.decision.effect != "deny" and not definition.control:
            target, dry_run = await self._targets.find(query.target), decided.decision.dry_run
            waiting = self._waiting.before_request(target.pool)
            fails = expected_failure(self._lacks, target, definition, decided.effective, dry_run=dry_run)
            tested_at = self._lacks.tested_at(target)
        return SimulateReply(
            verdict=verdict(decided.decision),
            waiting=waiting,
            fails=fails,
            host_tested_at=tested_at,
            trace=[to_builtins(entry) for entry in decided.decision.trace],
            parameters=params.public(definition.parameters, decided.effective),
            hidden=params.hidden(definition.parameters, decided.effective),
        )

    def _decode_query(self, message: Message, kind: type[Query]) -> tuple[str, Query]:
        """Return sender and query. Raises Full (`rate_limited`) before anything of it is read, Invalid."""
        principal, _ = parse_query(message.subject)
        if not self._buckets.take(principal, time.monotonic()):
            raise Full(f"{principal} sends more queries a second than are allowed: retry later", code="rate_limited")
        content_type = message.headers.get("Content-Type", wire.JSON)
        return principal, wire.decode(message.data, kind, content_type=content_type, limit=1_500_000)


def _is_of(life: Life, view: OperationView) -> bool:
    return life.what is not None and life.what.operation_id == view.operation_id
