"""An attacker with bootstrap's key has NATS erase a stop by a limit of the journal: nothing starts without the stop."""

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.attacks.test_streams_replaced import api, is_not_ready, recorded
from tests.e2e.stolen_keys import robbed

from writ_bus.nats.bus import NatsBus, connect
from writ_client.client import Writ
from writ_contracts import subjects
from writ_contracts.errors import WritError
from writ_contracts.journal import ControlEvent
from writ_contracts.wire import encode
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


async def announce_falsely(admin: NatsBus, last: int) -> None:
    """Have the journal take an archive's announcement from another stream, and then set its configuration back."""
    event = ControlEvent(
        id="made-up",
        at=1.0,
        correlation_id="c",
        kind="journal_archive",
        principal="alice",
        operation_id="a" * 26,
        body={"generation": 1, "first": 1, "last": last, "digest": "0" * 64},
    )
    request = "$JS.API.STREAM.INFO.NONE"  # all that this key may publish, and so all that its stream can take in
    copied = {"name": "COPIED", "subjects": [request], "no_ack": True, "max_bytes": 1 << 20}
    await api(admin, "STREAM.CREATE.COPIED", json.dumps(copied).encode())

    async def taken_in() -> bool:
        await admin.request(request, encode(event), timeout=5)
        return bool((await api(admin, "STREAM.INFO.COPIED"))["state"]["messages"])

    await eventually(taken_in, what="the announcement in another stream")
    config = (await api(admin, f"STREAM.INFO.{JOURNAL}"))["config"]
    line = {"src": request, "dest": subjects.control_event("journal_archive")}
    source = {**config, "sources": [{"name": "COPIED", "subject_transforms": [line]}]}
    await api(admin, f"STREAM.UPDATE.{JOURNAL}", json.dumps(source).encode())

    async def announced() -> bool:
        found = await admin.request(
            f"$JS.API.STREAM.MSG.GET.{JOURNAL}", json.dumps({"last_by_subj": line["dest"]}).encode(), timeout=5
        )
        return "error" not in json.loads(found.data)

    await eventually(announced, what="the announcement")
    await api(admin, f"STREAM.UPDATE.{JOURNAL}", json.dumps(config).encode())


async def shorten(admin: NatsBus, last: int) -> None:
    """Have NATS remove the events up to this one, and then set its configuration back."""
    info = await api(admin, f"STREAM.INFO.{JOURNAL}")
    config, ends = info["config"], info["state"]["last_seq"]
    shorter = {**config, "discard": "old", "max_msgs": ends - last}
    await api(admin, f"STREAM.UPDATE.{JOURNAL}", json.dumps(shorter).encode())
    await api(admin, f"STREAM.UPDATE.{JOURNAL}", json.dumps(config).encode())


async def test_policy_starts_nothing_once_events_are_only_in_an_archive_that_it_never_decided(
    installation: RunningInstallation,
) -> None:
    path = installation.home.root.parent / "files" / "announced"
    write = ("file_write", "web-1", {"file_path": str(path), "content": "x"})
    admin = await connect(options_of(installation.home, "bootstrap", installation.url, None))
    async with await installation.client("alice") as alice:
        stop = await set_stop(alice, "web-1")
        await announce_falsely(admin, stop)
        await shorten(admin, stop)
        await admin.close()
        before = installation.kill("policy")

        async def restarted() -> bool:
            return installation.pid("policy") not in (None, before)

        await eventually(restarted)
        await is_not_ready(installation, "policy", "journal", "neither in the journal nor in an archive")
        with pytest.raises(WritError):
            await alice.run(*write, timeout=10)
    assert not path.exists()


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
