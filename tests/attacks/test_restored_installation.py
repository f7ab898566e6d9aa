"""What was taken back after a backup stays taken back by its restore: it gives no access again."""

from pathlib import Path

import pytest
from tests.e2e.governed import governed

from writ_bus.errors import Forbidden
from writ_client.client import Writ
from writ_client.context import Context
from writ_installation.files.home import Home
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, local_target, running_installation
from writ_trust.keys import Key, generate_seed

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(240)]


async def by_key(installation: RunningInstallation, key: Key) -> Writ:
    context = Context(principal="alice", url=installation.url, installation=installation.home.installation)
    return await Writ.within(context, key.seed, wait=5)


async def open_sessions(writ: Writ) -> list[str]:
    return [one.id for one in (await writ.sessions.open_ones()).sessions]


async def test_session_that_was_ended_after_the_backup_is_refused_after_the_restore(tmp_path: Path) -> None:
    file, there, key = tmp_path / "backup.writ", tmp_path / "restored" / "home", Key(generate_seed())
    people = {"alice": {"roles": ["admin"]}}
    targets = [local_target("web-1", tmp_path / "files")]
    async with (
        governed(tmp_path / "first", people, targets) as installation,
        await installation.client("alice") as alice,
    ):
        opened = await alice.sessions.open(key.public, seconds=3600)
        async with await by_key(installation, key) as stolen:
            assert (await stolen.run("test_noop", "web-1", {}, timeout=60)).outcome == "succeeded"
        made = await installation.writ("backup", str(file))
        assert made.status == 0, made
        ended = await installation.writ("sessions", "revoke", opened.operation_id, environ={"WRIT_PRINCIPAL": "alice"})
        assert ended.status == 0, ended
    restored = await installation.writ("restore", str(file), environ={"WRIT_HOME": str(there)})
    assert restored.status == 0, restored
    assert "revoked or rotated" in restored.err
    async with (
        running_installation(tmp_path / "restored", home=Home(there)) as installation,
        await installation.client("alice") as alice,
    ):
        assert await open_sessions(alice) == []

        async def refused() -> bool:
            try:
                await (await by_key(installation, key)).close()
            except Forbidden:
                return True
            return False

        await eventually(refused)
