"""Queries about the policy. Nothing here changes anything.

Every principal may query its own access; all other queries need `audit_read` with `query: policy`. Raises the errors of
`writ_contracts.errors`: Invalid, Denied, Unreachable, TimedOut.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from writ_bus.port import Bus
from writ_client.queries.access_queries import AccessQueries
from writ_client.queries.service_calls import ATTEMPT_SECONDS, Reply, request_reply
from writ_contracts import subjects
from writ_contracts.errors import Invalid
from writ_contracts.failures import raise_for
from writ_contracts.policy import access as access
from writ_contracts.policy import questions as questions
from writ_contracts.policy.versions import sent_form
from writ_contracts.requests import SimulateQuery, SimulateReply

QUERY_SECONDS = 20.0
PART = 100
"""Requests in one query."""
HEAVY_SECONDS = 60.0
"""Timeout of queries that a policy service computes beside its decisions, one at a time."""
HEAVY_ATTEMPT_SECONDS = 35.0
"""Longer than a policy service computes (30 s): a repetition during that time would be computed, too."""


class PolicyQueries(AccessQueries):
    """`writ.policy`: queries to the policy service."""

    def __init__(self, bus: Bus, principal: str) -> None:
        """Use a bus connected as this principal."""
        self._bus = bus
        self._principal = principal

    async def can_i(
        self, operation: str, target: str, parameters: Mapping[str, Any] | None = None, *, dry_run: bool = False
    ) -> questions.PolicyCanIReply:
        """Return the decision on the caller's own request at this moment, as an executor would get it. Raises Invalid
        (`unsupported`, …).
        """
        question = SimulateQuery(operation=operation, target=target, parameters=dict(parameters or {}), dry_run=dry_run)
        reply = await self._query("simulate", question, SimulateReply)
        verdict = reply.verdict
        if verdict is None:
            raise Invalid("the reply of the executor is empty")
        return questions.PolicyCanIReply(
            decision=verdict.decision,
            code=verdict.code,
            reason=verdict.reason,
            rules=verdict.rules,
            waiting=reply.waiting,
            fails=reply.fails,
        )

    async def eval(self, requests: Sequence[questions.EvalRequest]) -> list[questions.EvalResult]:
        """Return the decisions of the policy in force on requests of any principal, in several queries if necessary."""
        if len(requests) > PART:
            parts = [requests[at : at + PART] for at in range(0, len(requests), PART)]
            return [result for part in parts for result in await self.eval(part)]
        question = questions.PolicyEvalQuery(requests=list(requests))
        try:
            return (await self._query("policy_eval", question, questions.PolicyEvalReply)).results
        except Invalid as error:
            if error.code != "oversize" or len(requests) < 2:
                raise
        half = len(requests) // 2
        return [*await self.eval(requests[:half]), *await self.eval(requests[half:])]

    async def validate(
        self, document: str, *, mode: Literal["strict", "permissive"] | None = None
    ) -> questions.PolicyValidateReply:
        """Return whether a document could be published there, and all its problems."""
        question = questions.PolicyValidateQuery(document=sent_form(document), mode=mode)
        return await self._query("policy_validate", question, questions.PolicyValidateReply, HEAVY_SECONDS)

    async def test(self, suite: str, *, document: str | None = None) -> questions.PolicyTestReply:
        """Run a suite of cases on the policy in force or on a document, with the targets and principals there."""
        question = questions.PolicyTestQuery(suite=suite, document=None if document is None else sent_form(document))
        return await self._query("policy_test", question, questions.PolicyTestReply, HEAVY_SECONDS)

    async def diff(self, new: int | str, old: int | str | None = None) -> access.PolicyDiffReply:
        """Return the differing decisions with `new`: a version's number or a document; `old`: by default the one in
        force.
        """
        question = access.PolicyDiffQuery(
            new=sent_form(new) if isinstance(new, str) else new, old=sent_form(old) if isinstance(old, str) else old
        )
        return await self._query("policy_diff", question, access.PolicyDiffReply, HEAVY_SECONDS)

    async def _explain(self, query: questions.PolicyExplainQuery) -> questions.Explanation:
        answer = await self._query("policy_explain", query, questions.PolicyExplainReply)
        if answer.explanation is None:
            raise Invalid("the reply of the policy service is empty")
        return answer.explanation

    async def _allowed(self, query: access.PolicyAllowedQuery) -> access.PolicyAllowedReply:
        return await self._query("policy_allowed", query, access.PolicyAllowedReply, HEAVY_SECONDS)

    async def _who_can(self, query: access.PolicyWhoCanQuery) -> access.PolicyWhoCanReply:
        return await self._query("policy_who_can", query, access.PolicyWhoCanReply, HEAVY_SECONDS)

    def _who(self, named: str | None) -> str:
        return named or self._principal

    async def _query(self, kind: str, question: Any, answer_kind: type[Reply], timeout: float = QUERY_SECONDS) -> Reply:
        subject = subjects.query(self._principal, kind)
        attempt = HEAVY_ATTEMPT_SECONDS if timeout == HEAVY_SECONDS else ATTEMPT_SECONDS
        answer = await request_reply(
            self._bus, subject, question, answer_kind, timeout=timeout, attempt_seconds=attempt
        )
        raise_for(answer)
        return answer
