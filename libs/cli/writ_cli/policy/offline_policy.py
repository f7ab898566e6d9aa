"""The queries of `writ_client.policy_queries`, answered from files: the same names, the same structs."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from writ_client.request_combinations import Simulation
from writ_contracts import policy_access as access
from writ_contracts import policy_questions as questions
from writ_contracts.errors import Invalid
from writ_contracts.inventory import Role
from writ_rules import explanation, json_lines, replies
from writ_rules.setting import Setting


class OfflinePolicy(Simulation):
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

    async def explain(
        self,
        operation: str,
        target: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        principal: str | None = None,
        at: float | None = None,
        dry_run: bool = False,
        emergency: bool | None = None,
        approvals: Sequence[str] = (),
    ) -> questions.Explanation:
        """Explain the decision on a request."""
        query = questions.PolicyExplainQuery(
            operation=operation,
            target=target,
            parameters=dict(parameters or {}),
            principal=principal,
            at=at,
            dry_run=dry_run,
            emergency=emergency,
            approvals=list(approvals),
        )
        return explanation.explain(self.setting, query, asker=self._who(principal), now=time.time())

    async def eval(self, requests: Sequence[questions.EvalRequest]) -> list[questions.EvalResult]:
        """Return the decisions on requests of any principal."""
        now = time.time()
        return [json_lines.decided(self.setting, request, now=now) for request in requests]

    async def allowed(
        self,
        *,
        operations: Sequence[str] | None = None,
        role: Role | None = None,
        target: str | None = None,
        principal: str | None = None,
        principal_role: str | None = None,
        at: float | None = None,
    ) -> access.PolicyAllowedReply:
        """Return the access of principals to targets."""
        query = access.PolicyAllowedQuery(
            operations=None if operations is None else list(operations),
            role=role,
            target=target,
            principal=principal,
            principal_role=principal_role,
            at=at,
        )
        return replies.allowed(self.setting, query, now=time.time())

    async def who_can(
        self,
        operation: str,
        target: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        *,
        role: Role | None = None,
        at: float | None = None,
    ) -> access.PolicyWhoCanReply:
        """Return the principals that may do it, with some parameters or with these."""
        query = access.PolicyWhoCanQuery(
            operation=operation,
            target=target,
            role=role,
            parameters=None if parameters is None else dict(parameters),
            at=at,
        )
        return replies.who_can(self.setting, query, now=time.time())

    def _who(self, named: str | None) -> str:
        who = named or self._asker
        if who is None:
            raise Invalid("which principal? name one with --as or WRIT_PRINCIPAL")
        return who
