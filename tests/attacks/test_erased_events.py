"""An attacker with bootstrap's key has NATS erase a stop by a limit of the journal: nothing starts without the stop."""

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.attacks.test_streams_replaced import api, is_not_ready, recorded
from tests.e2e.stolen_keys import robbed

from writ_bus.nats.bus import NatsBus, connect
from writ_client.client import Writ
from writ_contracts.errors import WritError
from writ_installation.server_access.server_options import options_of
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation

pytestmark = [pytest.mark.timeout(240), pytest.mark.exhaustive]
JOURNAL = "WRIT_JOURNAL"


@pytest_asyncio.fixture
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    async with robbed(tmp_path_factory.mktemp("erased")) as running:
        yield running


async def set_stop(alice: Writ, target: str) -> int:
    done = await alice.run("stop_set", "writ", {"scope": [target], "reason": "an attack"}, timeout=30)
    assert done.outcome == "succeeded", done
    return int(done.output["sequence"])


async def erase(admin: NatsBus, sequence: int) -> None:
    """Have NATS keep the latest event of each subject alone, and then set its configuration back."""
    config = (await api(admin, f"STREAM.INFO.{JOURNAL}"))["config"]
    await api(admin, f"STREAM.UPDATE.{JOURNAL}", json.dumps({**config, "max_msgs_per_subject": 1}).encode())

    async def gone() -> bool:
        found = await admin.request(f"$JS.API.STREAM.MSG.GET.{JOURNAL}", b'{"seq":%d}' % sequence, timeout=5)
        return "error" in json.loads(found.data)

    await eventually(gone, what=f"the end of event {sequence}")
    await api(admin, f"STREAM.UPDATE.{JOURNAL}", json.dumps(config).encode())


async def test_nothing_starts_once_a_stop_was_erased_from_the_journal(installation: RunningInstallation) -> None:
    path = installation.home.root.parent / "files" / "stopped"
    write = ("file_write", "web-1", {"file_path": str(path), "content": "x"})
    admin = await connect(options_of(installation.home, "bootstrap", installation.url, None))
    async with await installation.client("alice") as alice:
        stop = await set_stop(alice, "web-1")
        await set_stop(alice, "db-1")
        assert (await alice.run(*write)).code == "stopped"
        await erase(admin, stop)
        await admin.close()
        for process in ("policy", "audit", "executor"):
            await is_not_ready(installation, process, "journal", "neither in the journal nor in an archive")
        before = installation.kill("policy")

        async def restarted() -> bool:
            return installation.pid("policy") not in (None, before)

        await eventually(restarted)
        await is_not_ready(installation, "policy", "journal", "neither in the journal nor in an archive")
        with pytest.raises(WritError):
            await alice.run(*write, timeout=10)
    assert not path.exists()
    await recorded(
        installation, "journal_replaced", "reported by an executor", "reported by policy", "reported by audit"
    )
