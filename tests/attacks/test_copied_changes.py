"""A stolen executors' key stores a copy of an old change of principals: it opens no access to NATS."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.attacks.rogue import alarm
from tests.e2e.stolen_keys import holding, robbed

from writ_bus.port import Entry
from writ_client.context import Context, open_bus
from writ_contracts import subjects
from writ_contracts.errors import WritError
from writ_contracts.history.copied_control_events import CARRIED_FROM
from writ_contracts.installation.provisioning import ProvisionReply, ProvisionRequest
from writ_contracts.registry import channel
from writ_contracts.wire import decode, encode
from writ_installation.files.principal_changes import known_changes
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.exhaustive]
CHANGES = subjects.control_event("principal_manage")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    async with robbed(tmp_path_factory.mktemp("copied")) as running:
        yield running


async def connects(installation: RunningInstallation, name: str) -> bool:
    seed = installation.home.key(f"principal-{name}").seed
    try:
        bus = await open_bus(Context(principal=name, url=installation.url), seed, wait=10.0)
    except WritError:
        return False
    await bus.close()
    return True


async def test_copy_of_an_earlier_change_gives_nobody_access_again(installation: RunningInstallation) -> None:
    """Bob was disabled, enabled and disabled. The copy puts the last change before the second one."""
    async with await installation.client("alice") as alice:
        for action in ("disable", "enable", "disable"):
            done = await alice.principals.change(action, "bob", {}, reason="a test")
            assert done.view is not None, done
            assert done.view.outcome == "succeeded", done
    assert not await connects(installation, "bob")
    async with holding(installation, "executor") as bus:
        first, second, last = await bus.journal.read(CHANGES)
        assert first.sequence < second.sequence - 1, "no room for a copy"
        copy = Entry(
            subject=CHANGES,
            data=last.data,
            event_id="copy",
            filter=CHANGES,
            expected=last.sequence,
            headers={CARRIED_FROM: str(second.sequence - 1)},
        )
        forged = await bus.journal.append(copy)

        async def taken_in() -> bool:
            reply = await bus.request(
                channel("provision").subject(), encode(ProvisionRequest(sequence=forged)), timeout=10
            )
            answer = decode(reply.data, ProvisionReply)
            return answer.applied

        await eventually(taken_in, what="an answer of the provisioner")
        await alarm(bus, "broken_record", text="everything is stopped: event")  # by policy
    known = known_changes(installation.home).changes
    assert [one.change.action for one in known] == ["disable", "enable", "disable"]
    assert not await connects(installation, "bob")
