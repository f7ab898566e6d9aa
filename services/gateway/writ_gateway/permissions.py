"""The operations in a caller's lists, by the policy. Lists decide nothing: each request is decided by itself."""

import asyncio
import time
from collections.abc import Sequence

from writ_client.client import Writ
from writ_contracts.catalogue.control import AUDIT_READ
from writ_contracts.ids import WRIT_TARGET
from writ_gateway.caller import EVERY, any_fits

FRESH_SECONDS = 30.0
MOST_KEPT = 64


class Permissions:
    """The operations that the policy allows to one principal with at least some parameters, at some time."""

    def __init__(self, writ: Writ) -> None:
        self._writ = writ
        self._asking = asyncio.Lock()
        self._known: dict[tuple[str, ...], tuple[frozenset[str], float]] = {}
        """By the globs of tokens: the operations, and until when they are fresh."""
        self._reads_policy = False
        self._reads_until = 0.0

    async def operations(self, targets: Sequence[str] = EVERY) -> frozenset[str]:
        """Return the operations permitted on any target that these globs match, at most 30 s old. Raises as
        `PolicyQueries.allowed`.
        """
        globs = tuple(targets)
        async with self._asking:
            known, until = self._known.get(globs, (frozenset(), 0.0))
            if time.monotonic() >= until:
                answer = await self._writ.policy.allowed(principal=self._writ.principal)
                found = (one for one in answer.accesses if one.allowed != "never")
                known = frozenset(one.operation for one in found if globs == EVERY or any_fits(one.targets, globs))
                if len(self._known) >= MOST_KEPT:
                    self._known.clear()
                self._known[globs] = known, time.monotonic() + FRESH_SECONDS
            return known

    async def reads_policy(self) -> bool:
        """Return whether the principal may read the policy, at most 30 s old. Raises as `AccessQueries.explain`."""
        async with self._asking:
            if time.monotonic() >= self._reads_until:
                answer = await self._writ.policy.explain(AUDIT_READ, WRIT_TARGET, {"query": "policy"})
                self._reads_policy = answer.decision == "allow"
                self._reads_until = time.monotonic() + FRESH_SECONDS
            return self._reads_policy
