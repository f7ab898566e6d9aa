"""Queries about the policy: a long computation is not requested again while it runs."""

from collections.abc import Mapping

from writ_bus.port import Message
from writ_client.queries.policy_queries import PolicyQueries
from writ_contracts.policy.access import PolicyWhoCanReply
from writ_contracts.wire import encode
from writ_policy.analysis_process.pool import SECONDS
from writ_testing.memory.bus import MemoryBus


class RecordingBus(MemoryBus):
    """Replies at once, and records how long each request would have waited."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    async def request(
        self, subject: str, data: bytes, *, timeout: float, headers: Mapping[str, str] | None = None
    ) -> Message:
        self.waits.append(timeout)
        return Message(subject=subject, data=encode(PolicyWhoCanReply()))


async def test_a_heavy_query_waits_longer_than_its_computation_may_take() -> None:
    bus = RecordingBus()
    await PolicyQueries(bus, "alice").who_can("service_restart", "web-1")
    assert len(bus.waits) == 1
    assert bus.waits[0] > SECONDS
