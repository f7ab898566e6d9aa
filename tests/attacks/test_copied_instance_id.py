"""An agent's key and instance id, used by a thief without a heartbeat: the claim does not name the agent's start."""

from pathlib import Path

import pytest
from tests.attacks.rogue import alarm, events
from tests.attacks.test_copied_key_beside_its_owner import lived
from tests.attacks.test_threat_model import claimed
from tests.e2e.stolen_keys import holding

from writ_bus.port import Bus
from writ_client.client import Writ
from writ_contracts import subjects
from writ_contracts.journal import Granted
from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_claim_under_the_honest_agents_instance_id_is_a_security_event(
    installation: RunningInstallation, executor: Bus, alice: Writ, files: Path
) -> None:
    """The record shows the id, and not the start."""
    assert (await alice.run("test_noop", "web-1", timeout=30)).outcome == "succeeded"
    on_record = await events(executor, "writ.journal.op.alice.*.granted")
    [instance] = {one.instance for one in on_record if isinstance(one, Granted)}
    await lived(executor, "a")
    assert await events(executor, subjects.security_event("key_copied")) == [], "the honest agent alone is no copy"
    async with holding(installation, "agent-a") as thief:
        with installation.paused("agent-a"):
            answer = await alice.submit("file_write", "web-1", {"file_path": str(files / "taken"), "content": "x"})
            await claimed(installation, thief, answer.operation_id or "", instance)
    event = await alarm(executor, "key_copied", text="one instance has two starts")
    assert event.pool == "a"
    assert instance in event.detail
