"""Queries about the policy's effect: `writ.query.<principal>.policy_…`. They change nothing.

Everybody may query about themselves and about agents that act for them. Any other query needs `audit_read` of `policy`.
Single decisions are made here, and many of them a few at a time; the analysis process does the rest.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Raw, Struct, structs

from writ_bus.port import Journal, Message
from writ_bus.sender import sender_key
from writ_contracts.decisions import MOST_TRACED, TraceEntry
from writ_contracts.errors import Invalid
from writ_contracts.policy import access as access
from writ_contracts.policy import questions as questions
from writ_contracts.policy.versions import document_in
from writ_contracts.subjects import any_operation_filter, parse_event, parse_query
from writ_policy.analysis_process.jobs import LARGEST_ANSWER, Job, Kind
from writ_policy.analysis_process.pool import AnalysisPool
from writ_policy.decisions.facts import KnownFacts
from writ_policy.decisions.rulings import Judge
from writ_policy.endpoints.scans import Scans
from writ_policy.endpoints.versions import QueryHandler, decode_query
from writ_policy.state.visible_policy import VisiblePolicy
from writ_policy.versions.stored_versions import Versions
from writ_rules.engine.facts import NO_FACTS, Facts
from writ_rules.explanation import can_i, explain
from writ_rules.json_lines import decided
from writ_rules.loading import Mode
from writ_rules.setting import Setting

LONGEST_QUESTION = 2_000_000
SLICE_SECONDS, PAUSE_SECONDS = 0.0005, 0.002
"""For one query with many decisions: the most seconds without a pause, and the pause.

Another decision takes several turns of the event loop, so yielding for one turn would be too short.
"""
CANCEL = "operation_cancel"
Answer = TypeVar("Answer", bound=Struct)


class AnalysisQueries:
    """The handlers; one method for each query. It returns the struct that the registry names, or raises WritError."""

    def __init__(
        self,
        mode: Mode,
        versions: Versions,
        judge: Callable[[], Awaitable[Judge]],
        permit: Callable[[Message], Awaitable[None]],
        scans: Scans,
        analysis_pool: AnalysisPool,
        journal: Journal,
    ) -> None:
        """Serve these queries. `judge` returns all present inputs of a decision; `permit` raises Denied."""
        self._journal = journal
        self._scans = scans
        self._evaluating = asyncio.Lock()
        self._mode = mode
        self._versions = versions
        self._judge = judge
        self._permit = permit
        self._analysis_pool = analysis_pool

    def by_name(self) -> dict[str, QueryHandler]:
        return {
            "query_policy_can_i": self.can_i,
            "query_policy_explain": self.explain,
            "query_policy_eval": self.eval,
            "query_policy_validate": self.validate,
            "query_policy_test": self.test,
            "query_policy_allowed": self.allowed,
            "query_policy_who_can": self.who_can,
            "query_policy_diff": self.diff,
        }

    async def can_i(self, message: Message) -> questions.PolicyCanIReply:
        """Return whether the principal may run the operation now."""
        query = decode_query(message, questions.PolicyCanIQuery, LONGEST_QUESTION)
        judge, asker = await self._asker(message)
        query = structs.replace(query, dry_run=query.dry_run and not judge.dry_run_only)
        facts = await self._scanned(judge, query.operation, query.target)
        own = await self._is_own(judge, query.operation, asker, query.parameters)
        return can_i(setting(judge, asker), query, asker=asker, now=judge.now, facts=facts, own=own)

    async def explain(self, message: Message) -> questions.PolicyExplainReply:
        query = decode_query(message, questions.PolicyExplainQuery, LONGEST_QUESTION)
        judge, asker = await self._asker(message)
        await self._permit_others(message, judge, asker, [query.principal or asker])
        query = structs.replace(query, dry_run=query.dry_run and not judge.dry_run_only)
        facts = await self._scanned(judge, query.operation, query.target)
        here = setting(judge, asker if query.principal in (None, asker) else None)
        own = await self._is_own(judge, query.operation, query.principal or asker, query.parameters)
        explanation = explain(here, query, asker=asker, now=judge.now, facts=facts, own=own)
        omitted = max(0, len(explanation.trace) - MOST_TRACED)
        explanation = structs.replace(explanation, trace=_bounded(explanation.trace), trace_omitted=omitted)
        return questions.PolicyExplainReply(explanation=explanation)

    async def eval(self, message: Message) -> questions.PolicyEvalReply:
        """Make many decisions. Queries take turns, so that a short one does not wait for the end of longer ones."""
        query = decode_query(message, questions.PolicyEvalQuery, LONGEST_QUESTION)
        judge, asker = await self._asker(message)
        await self._permit_others(message, judge, asker, {request.principal for request in query.requests})
        about = {(request.operation, request.target) for request in query.requests}
        facts = {one: await self._scanned(judge, *one) for one in about}
        own = asker if all(request.principal == asker for request in query.requests) else None
        here, size, results = setting(judge, own), 0, list[questions.EvalResult]()
        while left := query.requests[len(results) :]:
            async with self._evaluating:  # those who wait for it get it in the order in which they came
                began = time.perf_counter()
                for request in left:
                    known = facts[request.operation, request.target]
                    result = decided(here, request, now=judge.now, facts=known)
                    results.append(structs.replace(result, trace=_bounded(result.trace)))
                    size += len(msgspec.json.encode(results[-1]))
                    if time.perf_counter() - began > SLICE_SECONDS:
                        break
                if len(results) < len(query.requests):
                    await asyncio.sleep(PAUSE_SECONDS)
            if size > LARGEST_ANSWER:
                raise Invalid("the reply is too large for one message: query fewer at once", code="oversize")
        return questions.PolicyEvalReply(results=results, policy=judge.snapshot.version)

    async def validate(self, message: Message) -> questions.PolicyValidateReply:
        """Return whether a document could be published, and all its mistakes."""
        return await self._analyse(message, "validate", questions.PolicyValidateQuery, questions.PolicyValidateReply)

    async def test(self, message: Message) -> questions.PolicyTestReply:
        """Run a suite of cases."""
        return await self._analyse(message, "test", questions.PolicyTestQuery, questions.PolicyTestReply)

    async def allowed(self, message: Message) -> access.PolicyAllowedReply:
        query = decode_query(message, access.PolicyAllowedQuery, LONGEST_QUESTION)
        judge, asker = await self._asker(message)
        await self._permit_others(message, judge, asker, [query.principal])
        return await self._analysis_pool.work(self._job("allowed", query, judge, asker), access.PolicyAllowedReply)

    async def who_can(self, message: Message) -> access.PolicyWhoCanReply:
        """Return the principals that may run an operation."""
        return await self._analyse(message, "who_can", access.PolicyWhoCanQuery, access.PolicyWhoCanReply)

    async def diff(self, message: Message) -> access.PolicyDiffReply:
        """Return what another policy would decide differently."""
        query = decode_query(message, access.PolicyDiffQuery, LONGEST_QUESTION)
        judge, _ = await self._asker(message)
        await self._permit(message)
        old = judge.snapshot.in_force.stored.document if query.old is None else await self._document(query.old)
        job = self._job("diff", None, judge)
        job = structs.replace(job, others=[old, await self._document(query.new)])
        return await self._analysis_pool.work(job, access.PolicyDiffReply)

    async def _analyse(self, message: Message, kind: Kind, question: type[Any], answer: type[Answer]) -> Answer:
        query = decode_query(message, question, LONGEST_QUESTION)
        judge, _ = await self._asker(message)
        await self._permit(message)
        return await self._analysis_pool.work(self._job(kind, query, judge), answer)

    async def _asker(self, message: Message) -> tuple[Judge, str]:
        """Return the judge, and the sender's principal after a check of its key. Raises Invalid."""
        judge = await self._judge()
        principal, _ = parse_query(message.subject)
        return judge, judge.snapshot.requester(principal, sender_key(message)).id

    async def _is_own(self, judge: Judge, operation: str, principal: str, parameters: Mapping[str, Any]) -> bool:
        """Return whether a valid control operation acts on something of the principal's own."""
        definition, owner = judge.catalogue.get(operation), None
        if definition is None or not definition.control:
            return False
        try:
            effective = definition.check(parameters)
        except Invalid:
            return False
        if operation == CANCEL:
            records = await self._journal.read(any_operation_filter(str(effective["operation_id"])), limit=1)
            where = parse_event(records[0].subject) if records else None
            owner = where.principal if where else None
        return judge.is_own(operation, principal, owner, effective)

    async def _scanned(self, judge: Judge, operation: str, target: str) -> Facts:
        """Return the scanner reports on the target that rules about the operation need."""
        scanners = judge.snapshot.scanners.get(operation)
        if not scanners or target not in judge.snapshot.targets:
            return NO_FACTS
        return (await self._scans.add(KnownFacts(), target, scanners)).facts

    async def _permit_others(self, message: Message, judge: Judge, asker: str, about: Iterable[str | None]) -> None:
        """Raise Denied if the query is about other principals, or about all, and the sender may not read that."""
        if not all(judge.snapshot.owns(asker, who) for who in about):
            await self._permit(message)

    def _job(self, kind: Kind, query: Struct | None, judge: Judge, asker: str | None = None) -> Job:
        """Return the job of a query. `asker`: a principal whose result is limited to what it may list."""
        snapshot = judge.snapshot
        observed = None if asker is None else snapshot.seen_by(snapshot.principals[asker], judge.now)
        limited = observed is not None and observed.reach is not None
        return Job(
            kind=kind,
            query=Raw(msgspec.json.encode(query)),
            now=judge.now,
            mode=self._mode,
            policy=snapshot.in_force.stored.document,
            targets=list((observed or snapshot).targets.values()),
            seen_by=(asker or "") if limited else "",
            principals=list(snapshot.principals.values()),
            presences=dict(snapshot.people.presences or {}),
            solo=snapshot.people.solo,
        )

    async def _document(self, side: int | str) -> str:
        if isinstance(side, str):
            return document_in(side)
        version = await self._versions.find(side)
        if version is None:
            raise Invalid(f"there is no valid version {side} of the policy", code="not_found")
        return version.document


def _bounded(trace: list[TraceEntry]) -> list[TraceEntry]:
    """Return the most useful part of the trace: matching rules, rules that err, and the first of the others."""
    return sorted(trace, key=lambda entry: (not entry.matched, not entry.erred))[:MOST_TRACED]


def setting(judge: Judge, asker: str | None = None) -> Setting:
    """Return the policy in force with its installation, stops and emergencies. `asker`: limit it to what this principal
    may list.
    """
    snapshot = judge.snapshot
    observed = (
        VisiblePolicy(snapshot.policy, snapshot.targets)
        if asker is None
        else snapshot.seen_by(snapshot.principals[asker], judge.now)
    )
    return Setting(
        policy=observed.policy,
        catalogue=judge.catalogue,
        targets=observed.targets,
        principals=snapshot.principals,
        people=snapshot.people,
        control=judge.control,
        label=f"{snapshot.version.name}@{snapshot.version.digest[:12]}",
    )
