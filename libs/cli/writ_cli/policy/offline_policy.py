"""The queries of `writ_client.queries.policy_queries`, answered from files: the same names, the same structs."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from writ_client.queries.access_queries import AccessQueries
from writ_contracts.errors import Invalid
from writ_contracts.policy import access as access
from writ_contracts.policy import questions as questions
from writ_rules import explanation, json_lines, replies
from writ_rules.setting import Setting


class OfflinePolicy(AccessQueries):
    """`asker`: the principal of queries about oneself."""

    def __init__(self, setting: Setting, asker: str | None) -> None:
        self.setting = setting
        self._asker = asker

    async def can_i(
        self, operation: str, target: str, parameters: Mapping[str, Any] | None = None, *, dry_run: bool = False
    ) -> questions.PolicyCanIReply:
        """Return the decision on one's own request, now."""
        query = questions.PolicyCanIQuery(
            operation=operation, target=target, parameters=dict(parameters or {}), dry_run=dry_run
        )
        return explanation.can_i(self.setting, query, asker=self._who(None), now=time.time())

    async def eval(self, requests: Sequence[questions.EvalRequest]) -> list[questions.EvalResult]:
        now = time.time()
        return [json_lines.decided(self.setting, request, now=now) for request in requests]

    async def _explain(self, query: questions.PolicyExplainQuery) -> questions.Explanation:
        return explanation.explain(self.setting, query, asker=self._who(query.principal), now=time.time())

    async def _allowed(self, query: access.PolicyAllowedQuery) -> access.PolicyAllowedReply:
        return replies.allowed(self.setting, query, now=time.time())

    async def _who_can(self, query: access.PolicyWhoCanQuery) -> access.PolicyWhoCanReply:
        return replies.who_can(self.setting, query, now=time.time())

    def _who(self, named: str | None) -> str:
        who = named or self._asker
        if who is None:
            raise Invalid("which principal? name one with --as or WRIT_PRINCIPAL")
        return who
