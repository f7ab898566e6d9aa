"""The operations in a caller's lists, by the policy. Lists decide nothing: each request is decided by itself."""

import asyncio
import time

from writ_client.client import Writ
from writ_contracts.catalogue.control import AUDIT_READ
from writ_contracts.ids import WRIT_TARGET

FRESH_SECONDS = 30.0


class Permissions:
    """The operations that the policy allows to one principal with at least some parameters, at some time."""

    def __init__(self, writ: Writ) -> None:
        self._writ = writ
        self._asking = asyncio.Lock()
        self._known: frozenset[str] = frozenset()
        self._until = 0.0
        self._reads_policy = False
        self._reads_until = 0.0

    async def operations(self) -> frozenset[str]:
        """Return the permitted operations, at most 30 s old. Raises as `PolicyQueries.allowed`."""
        async with self._asking:
            if time.monotonic() >= self._until:
                answer = await self._writ.policy.allowed(principal=self._writ.principal)
                self._known = frozenset(one.operation for one in answer.accesses if one.allowed != "never")
                self._until = time.monotonic() + FRESH_SECONDS
            return self._known

    async def reads_policy(self) -> bool:
        """Return whether the principal may read the policy, at most 30 s old. Raises as `AccessQueries.explain`."""
        async with self._asking:
            if time.monotonic() >= self._reads_until:
                answer = await self._writ.policy.explain(AUDIT_READ, WRIT_TARGET, {"query": "policy"})
                self._reads_policy = answer.decision == "allow"
                self._reads_until = time.monotonic() + FRESH_SECONDS
            return self._reads_policy
