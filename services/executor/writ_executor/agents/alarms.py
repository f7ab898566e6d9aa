"""Security events caused by agents of a pool: each is recorded, at a limited rate.

A stolen agent key must not fill the journal, which every other operation needs.
"""

import time

from writ_contracts.agents import SecurityKind
from writ_contracts.errors import Full
from writ_contracts.signing import Signed
from writ_executor.journal.recorder import Recorder
from writ_runtime.buckets import Buckets

RATE, BURST = 1.0, 200.0
"""Events of one pool: a second on average, and at once."""


class SecurityEventRecorder:
    """Records security events of pools, or refuses with Full: an honest agent keeps its report and sends it again."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._buckets = Buckets(RATE, BURST)

    async def raised(
        self,
        pool: str,
        kind: SecurityKind,
        detail: str,
        *,
        operation_id: str | None = None,
        principal: str | None = None,
        correlation_id: str = "",
        report: Signed | None = None,
    ) -> None:
        """Record a security event of this pool. Raises Full (`rate_limited`)."""
        if not self._buckets.take(pool, time.monotonic()):
            raise Full(f"pool {pool} reports more than is recorded in this time: {detail[:200]}", code="rate_limited")
        await self._recorder.security(
            kind,
            detail,
            operation_id=operation_id,
            principal=principal,
            pool=pool,
            correlation_id=correlation_id,
            report=report,
        )
