"""Bursts of security events: all of them are recorded, by one process and by several at once."""

import asyncio
from pathlib import Path

import pytest
from tests.contracts.test_catalogue import CATALOGUE

from writ_bus.port import Bus
from writ_contracts import subjects
from writ_executor.journal.index import Index
from writ_executor.journal.recorder import Recorder
from writ_executor.metrics import ExecutorMeasures, metrics
from writ_runtime.journal.security_events import SecurityEvents, SecurityFinding, security_event
from writ_testing.exhaustive import some
from writ_testing.peers.nats_server import writ_server

DETAILS = frozenset(f"report {number}" for number in range(128))


def recorder(bus: Bus) -> Recorder:
    return Recorder(bus.journal, Index(), ExecutorMeasures(metrics(), CATALOGUE, lambda: 1.0), lambda: 1.0)


@pytest.mark.parametrize("replicas", some([1, 3], 3))
async def test_no_event_of_a_burst_is_lost(tmp_path: Path, replicas: int) -> None:
    async with writ_server(tmp_path) as server:
        executors = [recorder(await server.bus("executor")) for _ in range(replicas)]
        policy = SecurityEvents((await server.bus("policy")).journal, lambda: 1.0, lambda _: None)
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            for number, detail in enumerate(sorted(DETAILS)):
                if number % 8:
                    group.create_task(executors[number % replicas].security("forged_receipt", detail))
                else:
                    group.create_task(policy.record(SecurityFinding(kind="forged_receipt", detail=detail)))
        stored = await (await server.bus("audit")).journal.read(subjects.security_event("forged_receipt"))
    found = [event.detail for record in stored if (event := security_event(record))]
    assert sorted(found) == sorted(DETAILS)
