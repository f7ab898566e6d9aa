"""A whole home in one file and back, on real servers: the same identity and record, and nothing runs twice."""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct, json

from writ_bus.nats.bus import NatsBus
from writ_bus.nats.jetstream import call
from writ_client.client import Writ
from writ_contracts import subjects
from writ_contracts.errors import Conflict, WritError
from writ_contracts.requests import OperationView
from writ_documents.atomic_files import DRAFT
from writ_installation.archives.backup import restore
from writ_installation.archives.journal import bootstrapped
from writ_installation.files.home import Home, host_token
from writ_installation.nats.server import BundledServer, free_port
from writ_installation.processes.child import tie
from writ_installation.server_access.certificates import make_authority
from writ_installation.server_access.server_address import ServerAddress
from writ_nats_server import snapshots
from writ_nats_server.process import ServerProcess
from writ_testing.eventually import eventually
from writ_testing.fakes.bundles import rewritten
from writ_testing.installations.count_load import load
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)

STOPS: dict[str, Any] = {"name": "stops", "operations": ["stop_set", "stop_lift", "operation_cancel"], "allowed": True}
ENVIRON = {"WRIT_SWEEP": "0.2", "WRIT_RATE": "10000", "WRIT_BURST": "10000", "WRIT_LEASE": "2", "WRIT_HEARTBEAT": "0.3"}

pytestmark = pytest.mark.timeout(240)


def home_in(folder: Path) -> Home:
    folder.mkdir()
    targets = [local_target(name, folder / "files") for name in ("web-1", "web-2")]
    return prepare(folder, policy=open_policy(STOPS), targets=targets)


async def is_started(writ: Writ, operation_id: str) -> bool:
    return (await writ.get(operation_id)).state == "started"


async def events_of(writ: Writ, operation_id: str) -> Any:
    return json.decode(json.encode((await writ.trace(operation_id=operation_id)).events))


def at(home: Path) -> dict[str, str]:
    return {"WRIT_HOME": str(home)}


class Before(Struct):
    """The history of the old installation before and around its backup."""

    first: OperationView
    trace: Any
    stop_id: str
    sleeper: str
    waiting: str


async def until_the_backup(writ: Writ, counted: Path) -> Before:
    """Leave an ended operation, a stop, a running operation, and one that waits for its target."""
    parameters = {"path": str(counted)}
    first = await writ.run("test_count", "web-1", parameters, idempotency_key="once", timeout=60)
    stop = await writ.stop_set(["nothing-*"], reason="to be found again")
    trace = await events_of(writ, first.operation_id)
    sleeper = (await writ.submit("test_sleep", "web-2", {"seconds": 300, "processes": 1})).operation_id or ""
    await eventually(lambda: is_started(writ, sleeper), what="its start")
    waiting = (await writ.submit("test_count", "web-2", parameters, idempotency_key="waits")).operation_id or ""
    return Before(first=first, trace=trace, stop_id=stop.output["id"], sleeper=sleeper, waiting=waiting)


async def back_up_under_load(installation: RunningInstallation, writ: Writ, file: Path, worked: Path) -> None:
    async with load(writ, ["web-1"], worked) as ran:
        await ran.more(5)
        made = await installation.writ("backup", str(file))
        assert made.status == 0, made
        await ran.more(5)
    await ran.check(writ)
    refused = await installation.writ("restore", str(file))
    assert (refused.status, "Writ is up" in refused.err) == (2, True), refused


def same_keys(home: Path, old: Path) -> None:
    keys = sorted(path for path in (home / "keys").rglob("*") if path.is_file())
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}
    assert [path.read_bytes() for path in keys] == [(old / path.relative_to(home)).read_bytes() for path in keys]
    assert list((home / "state").iterdir()) == [], "an agent with an old state would forget what it did"


@pytest.mark.exhaustive
async def test_a_backup_under_load_is_the_same_installation_elsewhere_and_nothing_runs_twice(tmp_path: Path) -> None:
    old, file, there = tmp_path / "old", tmp_path / "backup.writ", tmp_path / "new" / "home"
    counted = old / "files" / "counted"
    async with (
        running_installation(old, home=home_in(old), executors=2, environ=ENVIRON) as installation,
        await installation.client() as writ,
    ):
        before = await until_the_backup(writ, counted)
        await back_up_under_load(installation, writ, file, old / "files" / "worked")
        await writ.cancel(before.sleeper)  # and what waited for it runs, after the backup was made
        assert (await writ.wait(before.waiting, timeout=60)).outcome == "succeeded"
        assert counted.read_text().split() == [before.first.operation_id, before.waiting]
    restored = await installation.writ("restore", str(file), environ=at(there))
    assert restored.status == 0, restored
    assert file.stat().st_mode & 0o777 == 0o600
    same_keys(there, old / "home")
    home = Home(there)
    async with (
        running_installation(tmp_path, home=home, executors=2, environ=ENVIRON) as installation,
        await installation.client() as writ,
    ):
        await as_before(installation, writ, before, counted)


async def as_before(installation: RunningInstallation, writ: Writ, before: Before, counted: Path) -> None:
    """The restored installation has the same record, and runs no earlier operation again."""
    first, parameters = before.first.operation_id, {"path": str(counted)}
    assert await events_of(writ, first) == before.trace
    for operation_id in (before.sleeper, before.waiting):
        view = await writ.wait(operation_id, timeout=60)
        assert (view.outcome, view.code) == ("unknown", "restored"), "it may have run, and it did"
    for key, target, known in (("once", "web-1", first), ("waits", "web-2", before.waiting)):
        assert (await writ.submit("test_count", target, parameters, idempotency_key=key)).operation_id == known
    new = await writ.run("test_count", "web-1", parameters, timeout=60)
    assert new.outcome == "succeeded"
    assert counted.read_text().split() == [first, before.waiting, new.operation_id]
    assert (await writ.stop_lift(before.stop_id, reason="it was found")).outcome == "succeeded"
    everything = ("audit", "search", "--operation", "test_count", "--limit", "1000", "-o", "json")
    assert first in (await installation.writ(*everything)).out


@pytest.mark.exhaustive
async def test_a_home_at_rest_is_backed_up_too_and_a_backup_is_restored_once_and_whole(tmp_path: Path) -> None:
    old, file, there = tmp_path / "old", tmp_path / "backup.writ", tmp_path / "home"
    async with (
        running_installation(old, home=home_in(old), environ=ENVIRON) as installation,
        await installation.client() as writ,
    ):
        done = await writ.run("test_noop", "web-1", timeout=60)
    token = await installation.writ("agent", "token", f"local-{host_token()}", "--url", "nats://127.0.0.1:4222")
    assert token.status == 0, token
    large = old / "home" / "2026-10.writ"  # an archive, say, that somebody keeps there
    with large.open("wb") as growing:
        growing.truncate(65 << 20)
    (old / "home" / f".agents.yaml.1{DRAFT}").touch()
    assert (await installation.writ("backup", str(file))).status == 0
    assert (await installation.writ("backup", str(file))).status == 2, "a file that is there is never overwritten"

    there.mkdir()
    (there / "something").touch()
    refused = await installation.writ("restore", str(file), environ=at(there))
    assert (refused.status, "is not empty" in refused.err) == (2, True)
    (there / "something").unlink()

    for name in ("streams/WRIT_JOURNAL.snapshot", "home/keys/policy.seed"):
        damaged = await installation.writ("restore", str(changed(file, name)), environ=at(there))
        assert (damaged.status, "differs from its digest in the backup" in damaged.err) == (1, True), damaged
    outside = await installation.writ("restore", str(outwards(file)), environ=at(there))
    assert (outside.status, "not a path within an installation" in outside.err) == (1, True), outside
    assert not (tmp_path / "evil").exists()
    assert list(there.iterdir()) == []

    assert (await installation.writ("restore", str(file), environ=at(there))).status == 0
    assert not list(tmp_path.glob(".*restoring*"))
    assert not list(there.glob(f".*{DRAFT}")), "a draft is gone in the next moment"
    assert (there / large.name).stat().st_size == 65 << 20
    assert not (there / "tokens").exists(), "one that was used after the backup would be good again"
    async with running_installation(tmp_path, home=Home(there), environ=ENVIRON) as again, await again.client() as writ:
        assert (await writ.get(done.operation_id)).outcome == "succeeded"


async def test_on_a_server_of_ones_own_all_streams_are_restored_or_none(tmp_path: Path) -> None:
    old, file = tmp_path / "old", tmp_path / "backup.writ"
    async with (
        running_installation(old, home=home_in(old), environ=ENVIRON) as installation,
        await installation.client() as writ,
    ):
        done = await writ.run("test_noop", "web-1", timeout=60)
        assert (await installation.writ("backup", str(file))).status == 0
    shutil.rmtree(installation.home.store)
    server = BundledServer(
        installation.home,
        ServerAddress(host="127.0.0.1", port=free_port(), monitor_port=free_port()),
        lambda _: None,
        os.environ,
    )
    await server.start()
    try:
        async with bootstrapped(installation.home, server.url) as bus:
            await restore(Home(tmp_path / "first"), file, server.url, lambda _: None)
            *before, last = subjects.STREAMS
            for name in before:
                await snapshots.remove(bus, name)
            with pytest.raises(WritError):
                await restore(Home(tmp_path / "second"), file, server.url, lambda _: None)
            assert await streams_on(bus) == [last]
            assert not (tmp_path / "second").exists()
            await snapshots.remove(bus, last)
            await restore(Home(tmp_path / "second"), file, server.url, lambda _: None)
            assert await streams_on(bus) == sorted(subjects.STREAMS)
            assert await bus.journal.read(subjects.any_operation_filter(done.operation_id))
    finally:
        await server.stop()


async def test_backup_alone_is_enough_for_an_empty_machine_and_an_empty_server_of_ones_own(tmp_path: Path) -> None:
    old, file, config, there = tmp_path / "old", tmp_path / "backup.writ", tmp_path / "nats.conf", tmp_path / "home"
    async with (
        running_installation(old, home=home_in(old), environ=ENVIRON) as installation,
        await installation.client() as writ,
    ):
        done = await writ.run("test_noop", "web-1", timeout=60)
        assert (await installation.writ("backup", str(file))).status == 0
    shutil.rmtree(installation.home.root)
    written = await installation.writ("restore", str(file), "--write-server-config", str(config), environ=at(there))
    assert (written.status, there.exists(), list(tmp_path.glob(".*restoring*"))) == (0, False, []), written
    port, monitor = free_port(), free_port()
    node = tmp_path / "node.conf"
    node.write_text(f'include nats.conf\nport: {port}\nhttp: "127.0.0.1:{monitor}"\n')
    server = await ServerProcess.start(node, tmp_path / "nats.log", port=port, monitor_port=monitor, through=tie())
    try:
        environ = {**at(there), "NATS_URL": f"nats://127.0.0.1:{port}"}
        restored = await installation.writ("restore", str(file), environ=environ)
        assert restored.status == 0, restored
        async with bootstrapped(Home(there), environ["NATS_URL"]) as bus:
            assert await bus.journal.read(subjects.any_operation_filter(done.operation_id))
        home, environ = Home(there), {**ENVIRON, "NATS_URL": environ["NATS_URL"]}
        async with running_installation(tmp_path, home=home, environ=environ) as again, await again.client() as writ:
            assert (await writ.get(done.operation_id)).outcome == "succeeded"
            assert again.report.problem == "", "the server has the configuration of the restored files"
        await server.stop()
        server = await ServerProcess.start(node, tmp_path / "nats.log", port=port, monitor_port=monitor, through=tie())
        async with bootstrapped(home, environ["NATS_URL"]) as bus:
            assert await bus.journal.read(subjects.any_operation_filter(done.operation_id))
    finally:
        await server.stop()


@pytest.mark.exhaustive
async def test_backup_is_restored_although_the_environment_names_the_ca_of_another_server(tmp_path: Path) -> None:
    old, file, ca = tmp_path / "old", tmp_path / "backup.writ", tmp_path / "ca.pem"
    home = home_in(old)
    async with running_installation(old, home=home, environ=ENVIRON) as installation:
        assert (await installation.writ("backup", str(file))).status == 0
    ca.write_bytes(make_authority("elsewhere", datetime.now(UTC)).public)
    environ = {**at(tmp_path / "home"), "WRIT_TLS_CA": str(ca)}
    restored = await installation.writ("restore", str(file), environ=environ)
    assert restored.status == 0, restored


async def streams_on(bus: NatsBus) -> list[str]:
    return sorted((await call(bus.replies, "STREAM.NAMES", {}))["streams"] or [])


async def test_a_home_that_is_a_mount_is_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path == home)
    with pytest.raises(Conflict, match="is a mount"):
        await restore(Home(home), tmp_path / "backup.writ", None, lambda _: None)
    assert list(tmp_path.iterdir()) == [home]


def changed(file: Path, name: str) -> Path:
    """A copy in which one byte of a member is another."""
    return rewritten(file, lambda members: members.__setitem__(name, bytes([members[name][0] ^ 1]) + members[name][1:]))


def outwards(file: Path) -> Path:
    """Write a copy with a member outside its folder, and a manifest to match."""

    def add(members: dict[str, bytes]) -> None:
        manifest = json.decode(members["manifest.json"])
        sound = next(one for one in manifest["members"] if one["name"] == "home/policy.yaml")
        members["home/../../evil"] = members["home/policy.yaml"]
        manifest["members"].append({**sound, "name": "home/../../evil"})
        members["manifest.json"] = json.encode(manifest)

    return rewritten(file, add)
