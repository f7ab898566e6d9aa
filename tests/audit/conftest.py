"""For all tests of audit: an audit service over a bus within this process, and a policy that tests script."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.audit.replica import policy, replica

from writ_audit import hidden_values, reading
from writ_testing.fakes.scripted_policy import ScriptedPolicy
from writ_testing.memory.bus import MemoryBus


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give queries time for the whole index; these tests are about results, not about the limit of two seconds."""
    monkeypatch.setattr(reading, "CATCH_UP", 25.0)


@pytest.fixture
def scripted() -> ScriptedPolicy:
    """Return the policy, which allows all reads of the record."""
    return policy("allow")


@pytest.fixture
async def bus(tmp_path: Path, scripted: ScriptedPolicy, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MemoryBus]:
    """Yield the bus of policy and of an audit service."""
    monkeypatch.setattr(hidden_values, "TIMEOUT", 0.3)  # most tests have no executor
    bus = MemoryBus()
    await scripted.serve(bus)
    async with replica(bus, tmp_path, scripted.key.public):
        yield bus
    await bus.close()
