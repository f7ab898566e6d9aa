"""The queries about single decisions and about access, whatever answers them: a policy service, or files."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from writ_client.queries.request_combinations import RequestCombinations
from writ_contracts.inventory import Role
from writ_contracts.policy.access import (
    PolicyAllowedQuery,
    PolicyAllowedReply,
    PolicyWhoCanQuery,
    PolicyWhoCanReply,
)
from writ_contracts.policy.questions import Explanation, PolicyExplainQuery


class AccessQueries(RequestCombinations):
    """`explain`, `allowed`, `who_can` and `matrix`."""

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
    ) -> Explanation:
        """Explain the decision on a request: one's own, or another principal's; now, or `at` (Unix seconds)."""
        query = PolicyExplainQuery(
            operation=operation,
            target=target,
            parameters=dict(parameters or {}),
            principal=principal,
            at=at,
            dry_run=dry_run,
            emergency=emergency,
            approvals=list(approvals),
        )
        return await self._explain(query)

    async def allowed(
        self,
        *,
        operations: Sequence[str] | None = None,
        role: Role | None = None,
        target: str | None = None,
        principal: str | None = None,
        principal_role: str | None = None,
        at: float | None = None,
    ) -> PolicyAllowedReply:
        """Return the access of principals to targets; at any time, or `at` (Unix seconds)."""
        query = PolicyAllowedQuery(
            operations=None if operations is None else list(operations),
            role=role,
            target=target,
            principal=principal,
            principal_role=principal_role,
            at=at,
        )
        return await self._allowed(query)

    async def who_can(
        self,
        operation: str,
        target: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        *,
        role: Role | None = None,
        at: float | None = None,
    ) -> PolicyWhoCanReply:
        """Return the principals allowed to do it, with some parameters or with these."""
        query = PolicyWhoCanQuery(
            operation=operation,
            target=target,
            role=role,
            parameters=None if parameters is None else dict(parameters),
            at=at,
        )
        return await self._who_can(query)

    @abstractmethod
    async def _explain(self, query: PolicyExplainQuery) -> Explanation:
        """Return the answer to the query. Raises WritError."""

    @abstractmethod
    async def _allowed(self, query: PolicyAllowedQuery) -> PolicyAllowedReply:
        """Return the answer to the query. Raises WritError."""

    @abstractmethod
    async def _who_can(self, query: PolicyWhoCanQuery) -> PolicyWhoCanReply:
        """Return the answer to the query. Raises WritError."""
