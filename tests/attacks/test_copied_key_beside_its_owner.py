"""An agent's key, used by a thief while the honest agent works: it is noticed within a lease and a heartbeat."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.attacks.rogue import alarm, events
from tests.attacks.test_threat_model import beat, claimed
from tests.e2e.stolen_keys import ENVIRON, holding

from writ_bus.port import Bus, Message
from writ_client.client import Writ
from writ_contracts import subjects
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation

pytestmark = pytest.mark.asyncio(loop_scope="module")
LEASE = float(ENVIRON["WRIT_LEASE"])


@pytest_asyncio.fixture(loop_scope="module")
async def thief(installation: RunningInstallation) -> AsyncIterator[Bus]:
    async with holding(installation, "agent-b") as bus:
        yield bus


async def lived(executor: Bus, pool: str) -> None:
    """Wait until the honest agent has sent heartbeats for a lease."""
    heard: list[Message] = []

    async def hear(message: Message) -> None:
        heard.append(message)

    subscription = await executor.subscribe(subjects.heartbeat(pool), hear)

    async def long_enough() -> bool:
        return len(heard) > LEASE / float(ENVIRON["WRIT_HEARTBEAT"]) + 1

    await eventually(long_enough, what="heartbeats for a lease")
    await subscription.close()


async def status(installation: RunningInstallation) -> str:
    return (await installation.writ("status")).out


async def test_heartbeats_of_a_second_process_by_one_key_are_a_security_event(
    installation: RunningInstallation, executor: Bus, alice: Writ, thief: Bus
) -> None:
    assert (await alice.run("test_noop", "db-1", timeout=30)).outcome == "succeeded"
    await lived(executor, "b")
    assert await events(executor, subjects.security_event("key_copied")) == [], "an honest agent alone is no copy"
    assert "was it copied?" not in await status(installation)

    async def found() -> bool:
        await thief.publish(subjects.heartbeat("b"), beat("thief", "b"))
        return bool(await events(executor, subjects.security_event("key_copied")))

    await eventually(found, what="a security event", within=LEASE * 5)
    event = await alarm(executor, "key_copied", text="thief")
    key = installation.home.key("agent-b").public
    assert event.pool == "b"
    assert f"key {key[:12]} of pool b" in event.detail

    async def shown() -> bool:
        return "was it copied?" in await status(installation)

    await eventually(shown, what="the copy in `writ status`")


async def test_a_claim_beside_the_honest_agent_is_a_security_event_without_any_heartbeat(
    installation: RunningInstallation, executor: Bus, alice: Writ, files: Path
) -> None:
    await lived(executor, "a")
    async with holding(installation, "agent-a") as thief:
        with installation.paused("agent-a"):
            answer = await alice.submit("file_write", "web-1", {"file_path": str(files / "taken"), "content": "x"})
            await claimed(installation, thief, answer.operation_id or "")
    event = await alarm(executor, "key_copied", text=f"key {installation.home.key('agent-a').public[:12]}")
    assert event.pool == "a"
