"""Each key is rotated while operations run: each of them takes effect once, and the old key is refused everywhere."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.e2e.stolen_keys import ENVIRON, holding

from writ_bus.errors import Forbidden
from writ_client.client import Writ
from writ_client.context import Context, open_bus
from writ_contracts import subjects
from writ_contracts.journal import ControlEvent
from writ_contracts.wire import decode_event
from writ_installation.administration.key_rotation import announce, switch
from writ_installation.files.parameter_keys import id_in_use
from writ_testing.eventually import eventually
from writ_testing.installations.count_load import load
from writ_testing.installations.installation import RunningInstallation, local_target, prepare, running_installation
from writ_trust.keys import Key

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240), pytest.mark.exhaustive]
KEYS = ["policy", "executor", "audit", "keeper", "bootstrap", "sys", "status", "agent-a", "principal-alice"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    folder = tmp_path_factory.mktemp("rotated")
    targets = [local_target("web-1", folder / "files", agent="a")]
    home = prepare(folder, targets=targets, principals=[("alice", {})])
    async with running_installation(folder, home=home, environ=ENVIRON) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def writ(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client() as client:
        yield client


async def rotated(installation: RunningInstallation, name: str) -> Key:
    """Rotate a key; return the old one."""
    old = installation.home.key(name)
    ended = await installation.writ("keys", "rotate", name)
    assert ended.status == 0, ended
    assert installation.home.key(name).public != old.public
    return old


async def refused(installation: RunningInstallation, name: str, old: Key) -> bool:
    """Return true if NATS refuses the key."""
    who = name.removeprefix("principal-")
    try:
        await (await open_bus(Context(principal=who, url=installation.url), old.seed, wait=2)).close()
    except Forbidden:
        return True
    return False


@pytest.mark.parametrize("name", KEYS)
async def test_a_rotated_key_is_refused_and_no_operation_is_lost_or_doubled(
    installation: RunningInstallation, writ: Writ, files: Path, name: str
) -> None:
    async with load(writ, ["web-1"], files / f"counted-{name}") as ran:
        old = await rotated(installation, name)
        await ran.more(2)
    await ran.check(writ)
    assert await refused(installation, name, old)


async def test_parameters_and_outputs_outlive_the_key_under_which_they_were_encrypted(
    installation: RunningInstallation, writ: Writ, files: Path
) -> None:
    home, before = installation.home, id_in_use(installation.home.params_key)
    parameters = {"file_path": str(files / "kept"), "content": "secret"}
    written = await writ.run("file_write", "web-1", parameters, idempotency_key="kept")
    async with load(writ, ["web-1"], files / "counted-params") as ran:
        assert (await installation.writ("keys", "rotate", "params")).status == 0
        await ran.more(2)
    await ran.check(writ)
    assert id_in_use(home.params_key) != before
    assert await writ.result(written.operation_id)
    again = await writ.run("file_write", "web-1", parameters, idempotency_key="kept")
    assert again.operation_id == written.operation_id
    assert any(f"params {before[:12]} former" in one for one in await recorded(installation))


async def recorded(installation: RunningInstallation) -> list[str]:
    async with holding(installation, "policy") as bus:
        records = await bus.journal.read(subjects.control_event("keys_changed"))
    events = [decode_event(record.data) for record in records]
    return [str(event.body["changed"]) for event in events if isinstance(event, ControlEvent)]


async def test_a_rotation_is_on_record_and_goes_on_where_it_was_interrupted(
    installation: RunningInstallation, writ: Writ, files: Path
) -> None:
    home, old = installation.home, installation.home.key("executor")
    announce(home, "executor")
    switch(home, "executor")
    async with load(writ, ["web-1"], files / "interrupted") as ran:
        assert (await installation.writ("keys", "rotate", "executor")).status == 0
        await ran.more(2)
    await ran.check(writ)
    assert await refused(installation, "executor", old)

    async def rotation_is_recorded() -> bool:
        return any(f"executor {old.public[:12]} former" in one for one in await recorded(installation))

    await eventually(rotation_is_recorded, what="the record of the rotation")
    listed = json.loads((await installation.writ("keys", "list", "-o", "json")).out)["keys"]
    assert {one["state"] for one in listed if one["public"] == old.public} == {"former"}
