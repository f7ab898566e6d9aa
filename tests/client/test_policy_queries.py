"""Queries with a long computation: it is not requested again while it runs, and holds up no event loop."""

import threading
from collections.abc import Mapping

import pytest
from tests.client.scripted_api import ScriptedApi

from writ_bus.port import Message
from writ_client.client import Writ
from writ_client.queries import operation_queries
from writ_client.queries.policy_queries import PolicyQueries
from writ_contracts.nearest_name import misspelt
from writ_contracts.policy.access import PolicyWhoCanReply
from writ_contracts.requests import TargetView
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


async def test_similar_target_is_found_beside_the_event_loop(
    writ: Writ, executor: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor.targets = [TargetView(id="web-1", role="staging", backend="test", pool="p")]
    threads = list[threading.Thread]()

    def noted(name: str, known: list[str]) -> str:
        threads.append(threading.current_thread())
        return misspelt(name, known)

    monkeypatch.setattr(operation_queries, "misspelt", noted)
    assert await writ.similar_target("wbe-1") == "; did you mean 'web-1'?"
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()
