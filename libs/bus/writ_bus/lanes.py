"""The queues in front of one endpoint: a lane for urgent messages, turns for senders, no message that came too late."""

import asyncio
import logging
from collections.abc import Mapping

from writ_bus.port import Endpoint
from writ_bus.workers import BACKLOG, Job, WaitingBytes, Workers

_logger = logging.getLogger("writ.bus")

TIMEOUT = "Writ-Timeout"
"""Header of a request: seconds its sender waits. A request that waited longer is dropped; nobody would receive its
reply.
"""
LEAST_URGENT = 4


class Lanes:
    """Workers of one endpoint. The first wildcard of its subject names the sender of a message."""

    def __init__(self, endpoint: Endpoint, waiting: WaitingBytes | None = None) -> None:
        """`waiting`: the bytes that wait at all endpoints of the service."""
        tokens = endpoint.subject.split(".")
        self._sender_at = tokens.index("*") if "*" in tokens else None
        self._urgent_names = frozenset(endpoint.urgent)
        self._ordinary = Workers(endpoint.concurrency, endpoint.concurrency * BACKLOG, waiting_bytes=waiting)
        slots = max(LEAST_URGENT, endpoint.concurrency // 8)
        self._urgent = Workers(slots, slots * BACKLOG, waiting_bytes=waiting)
        self.dropped = 0
        """Messages that waited longer than their senders."""

    def submit(self, subject: str, headers: Mapping[str, str], size: int, job: Job) -> bool:
        """Run the job now or later. Return False where its line is full. `size`: the bytes of its message."""
        tokens = subject.split(".")
        sender = tokens[self._sender_at] if self._sender_at is not None else ""
        workers = self._urgent if tokens[-1] in self._urgent_names else self._ordinary
        if workers.start(job, sender, size):
            return True
        patience = _seconds(headers.get(TIMEOUT, ""))
        if patience is None:
            return workers.queue(job, sender, size)
        clock = asyncio.get_running_loop().time
        given_up = clock() + patience

        async def unless_late() -> None:
            if clock() < given_up:
                await job()
            else:
                self.dropped += 1
                _logger.warning("serve.dropped", extra={"subject": subject, "waited": patience})

        return workers.queue(unless_late, sender, size)

    async def finish(self) -> None:
        """Wait until all jobs taken so far have ended."""
        await self._ordinary.finish()
        await self._urgent.finish()

    async def cancel(self) -> None:
        """End all jobs now."""
        await self._ordinary.cancel()
        await self._urgent.cancel()


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 < seconds < 3600 else None
