"""Who can change the configuration of NATS has the executors' rights without a key of theirs, and no more."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.attacks.rogue import Rogue
from tests.e2e.stolen_keys import decided, subject

from writ_bus.port import Bus
from writ_client.context import Context, open_bus
from writ_contracts.decisions import Decision
from writ_contracts.errors import WritError
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation
from writ_trust.keys import Key, generate_seed
from writ_trust.statements import read

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.exhaustive]


@pytest_asyncio.fixture(loop_scope="module")
async def configured(installation: RunningInstallation) -> AsyncIterator[Bus]:
    """Yield a bus with a new key, which the attacker put in the place of the executors'."""
    seed, file = generate_seed(), installation.home.server_config
    file.write_text(file.read_text().replace(installation.home.key("executor").public, Key(seed).public))
    os.kill(installation.pid("nats") or 0, signal.SIGHUP)

    async def connected() -> Bus | None:
        try:
            return await open_bus(Context(principal="executor", url=installation.url), seed, wait=2)
        except WritError:  # NATS has not read it yet
            return None

    bus = await eventually(connected, what="a connection by the new key")
    yield bus
    await bus.close()


async def test_who_configures_nats_starts_what_needs_no_signature_and_nothing_else(
    installation: RunningInstallation, configured: Bus, files: Path
) -> None:
    path = files / "nobody-asked"
    write = subject(installation, "file_write", "web-1", {"file_path": str(path), "content": "x"})
    rogue = Rogue(configured)
    await rogue.listen()
    decision = (await decided(configured, write)).decision
    assert decision is not None
    await rogue.append(write, rogue.requested(write, decision))
    await rogue.dispatch(write)

    async def is_written() -> bool:
        return path.exists()

    await eventually(is_written, what="the effect")
    delete = subject(installation, "file_delete", "web-1", {"file_path": str(path)})
    decision = (await decided(configured, delete)).decision
    assert decision is not None
    assert read(decision, Decision).code == "signature_required"
