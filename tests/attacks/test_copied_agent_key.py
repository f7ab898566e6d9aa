"""The key and the environment of an enrolled agent, copied to another host: it claims nothing there."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.attacks.rogue import alarm
from tests.e2e.stolen_keys import holding
from tests.e2e.test_enrolment import POOL, TARGET, agent, enrol, token_of

from writ_bus.private_files import read_private
from writ_documents.host_identity import host_identity
from writ_documents.readers import read_agents
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)
from writ_trust.keys import Key

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.exhaustive]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("enrolled")
    targets = [{**local_target(TARGET, folder / "far-files"), "connection": {"host": "far"}}]
    home = prepare(folder, targets=targets, policy=open_policy())
    async with running_installation(folder, home=home, environ={"WRIT_HEARTBEAT": "0.5"}) as running:
        yield running


async def test_copied_key_claims_nothing_on_another_host(installation: RunningInstallation, tmp_path: Path) -> None:
    here, other = (tmp_path / name for name in ("machine-id", "other-machine-id"))
    for file in (here, other):
        file.write_text(secrets.token_hex(16) + "\n")
    made = await token_of(installation)
    folder = tmp_path / "far"
    ended = await enrol(folder, made["token"], environ={"WRIT_MACHINE_ID": str(here)})
    assert ended.status == 0, ended
    key = Key(read_private(folder / f"agent-{POOL}.seed")).public
    [entry] = [one for one in read_agents(installation.home.agents).agents if one.key == key]
    assert entry.host == host_identity(installation.home.installation, here)
    environment = folder / f"agent-{POOL}.env"
    true = environment.read_text()
    assert "WRIT_HOST_BOUND=true" in true
    async with await installation.client() as writ, holding(installation, "executor") as bus:
        for copied in (true.replace(str(here), str(other)), true.replace("WRIT_HOST_BOUND=true\n", "")):
            environment.write_text(copied)
            async with agent(folder):
                accepted = await writ.submit("test_noop", TARGET)
                event = await alarm(bus, "forged_claim", text="was the key copied?")
                assert event.pool == POOL
            (folder / "state").rename(tmp_path / f"state-{secrets.token_hex(4)}")
            view = await writ.get(accepted.operation_id or "")
            assert view.state == "dispatched"
        environment.write_text(true)
        async with agent(folder):
            assert (await writ.run("test_noop", TARGET, timeout=30)).outcome == "succeeded"
