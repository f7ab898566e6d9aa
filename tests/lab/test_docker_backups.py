"""Backups of volumes of containers, by restic and a real dockerd: made while it is quiet, restored into new volumes."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.lab.docker_host import BOX, DockerHost, docker_host
from tests.lab.engine import Engine

from writ_agent.backends.port import Task, TaskResult
from writ_agent.backends.processes import living
from writ_containers.backups import operations as backups
from writ_contracts.errors import WritError
from writ_contracts.ids import encode_id
from writ_testing.eventually import eventually
from writ_testing.peers.restic_repository import create_repository
from writ_testing.suites.backend import ProgressRecorder

pytestmark = pytest.mark.lab
PASSWORD = "s3cret-restic-word"
BY = (
    "for i in 1 2 3; do echo $i > /data/file-$i; done; ln -s file-1 '/data/li nk'; mkdir /data/sub; chmod 700 /data/sub"
)
IN_SHOP = "echo sold > /shop/ledger; mkdir -m 750 /shop/own; chmod 1777 /shop"
SHOW = (
    "cat /data/file-1 /other/x /shop/ledger; readlink '/data/li nk'; ls -ld /data/sub /shop /shop/own | cut -c1-10"
    "; cat /one-file"
)


@pytest.fixture
async def host(engine: Engine, tmp_path: Path) -> AsyncIterator[DockerHost]:
    async with docker_host(tmp_path, engine) as made:
        (tmp_path / "password").write_text(PASSWORD)
        backup = {
            "repository": str(tmp_path / "repository"),
            "password_file": str(tmp_path / "password"),
            "host": "box",
        }
        create_repository(tmp_path / "repository", PASSWORD)
        made.target = replace(made.target, backup=backup)
        (made.root / "shop").mkdir()
        (made.root / "one-file").write_text("alone\n")
        (tmp_path / "beyond").mkdir()
        volumes = ["--volume", "data:/data", "--volume", "/other", "--volume", f"{made.root}/shop:/shop"]
        volumes += ["--volume", f"{made.root}/one-file:/one-file", "--volume", f"{tmp_path}/beyond:/beyond"]
        engine.docker("run", "--detach", "--name", "db", *volumes, "--env", "OWN=1", BOX)
        engine.docker("exec", "db", "sh", "-c", f"{BY}; echo then > /other/x; {IN_SHOP}")
        yield made


async def run(host: DockerHost, name: str, verdict: str = "took_effect", **given: Any) -> TaskResult:
    """Run it with its preview before and its probe afterwards."""
    asked = host.task(name, encode_id(os.urandom(16)), **given)
    if asked.operation.preview:
        assert await host.backend.preview(asked)
    done = await host.backend.run(asked, ProgressRecorder())
    if asked.operation.probe:
        assert (await host.backend.probe(asked, {})).verdict == verdict
    return done


@pytest.mark.parametrize("quiesce", ["pause", "stop", "none"])
async def test_the_volumes_of_a_container_come_back_in_new_ones(host: DockerHost, quiesce: str) -> None:
    before = host.engine.docker("exec", "db", "sh", "-c", SHOW)
    done = await run(host, "backup_create", backup_id="first", container_name="db", quiesce=quiesce)
    assert (done.outcome, done.output["files"]) == ("succeeded", 3)
    assert done.message == "left out: /beyond (not below mount_roots), /one-file (no folder)"
    assert PASSWORD not in repr(done)
    assert host.shown("db")["State"]["Status"] == "running"
    (entry,) = (await run(host, "backup_list", container_name="db")).output["backups"]
    assert (entry["backup_id"], entry["container_name"]) == ("first", "db")
    assert await host.backend.listing(host.target, "list_backups") == ["first"]
    host.engine.docker("exec", "db", "sh", "-c", "rm -r /data/* /shop/*; echo now > /data/file-1; echo now > /other/x")
    former = host.shown("db")
    done = await run(host, "backup_restore", backup_id="first", container_name="db")
    now = host.shown("db")
    (shop,) = [one["Source"] for one in now["Mounts"] if one["Destination"] == "/shop"]
    message = f"the former volumes are left as they were; its folders are now {shop}"
    assert (done.outcome, done.message) == ("succeeded", message)
    assert (Path(shop).parent, Path(shop).name.startswith("shop.restored-")) == (host.root, True)
    assert not list((host.root / "shop").iterdir())
    assert now["Id"] != former["Id"]
    assert "OWN=1" in now["Config"]["Env"]
    assert host.engine.docker("exec", "db", "sh", "-c", SHOW) == before
    assert host.engine.docker("run", "--rm", "--volume", "data:/d", BOX, "cat", "/d/file-1") == "now\n"
    assert (await run(host, "backup_delete", backup_id="first", container_name="db")).outcome == "succeeded"
    assert (await run(host, "backup_list")).output["backups"] == []


async def test_an_id_is_taken_once_and_a_backup_fits_its_container(host: DockerHost) -> None:
    await run(host, "backup_create", backup_id="first", container_name="db")
    for name, given, code in (
        ("backup_create", {"backup_id": "first", "container_name": "db"}, "exists"),
        ("backup_restore", {"backup_id": "fir", "container_name": "db"}, "backup_not_found"),
        ("backup_delete", {"backup_id": "fir"}, "backup_not_found"),
        ("backup_create", {"backup_id": "x", "target_path": "/etc"}, "unsupported"),
    ):
        with pytest.raises(WritError) as refused:
            await run(host, name, **given)
        assert refused.value.code == code
    host.engine.docker("run", "--detach", "--name", "bare", BOX)
    with pytest.raises(WritError) as refused:
        await run(host, "backup_restore", backup_id="first", container_name="bare")
    assert refused.value.code == "no_volumes"


async def test_a_folder_is_not_restored_beside_its_mount_root(host: DockerHost) -> None:
    await run(host, "backup_create", backup_id="first", container_name="db")
    host.target = replace(host.target, mount_roots=[str(host.root / "shop")])
    with pytest.raises(WritError) as refused:
        await run(host, "backup_restore", backup_id="first", container_name="db")
    assert refused.value.code == "backup_does_not_fit"


async def test_a_restore_that_is_not_as_in_the_backup_changes_nothing(
    host: DockerHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(host, "backup_create", backup_id="first", container_name="db")
    former = host.shown("db")["Id"]

    async def other(stream: Any) -> str:
        async for _ in stream:
            continue
        return "another"

    monkeypatch.setattr(backups, "digest_of", other)
    done = await run(host, "backup_restore", "no_effect", backup_id="first", container_name="db")
    assert (done.outcome, done.code) == ("failed", "not_verified")
    assert (host.shown("db")["Id"], host.runs("db")) == (former, True)
    assert "restored" not in host.engine.docker("volume", "ls", "--format", "{{.Name}}")


async def test_backup_stopped_at_its_pause_leaves_no_part_and_no_paused_container(host: DockerHost) -> None:
    await stopped_once(host, big_backup(host), lambda: is_paused(host))


async def test_backup_stopped_while_it_reads_leaves_no_part_and_no_paused_container(host: DockerHost) -> None:
    await stopped_once(host, big_backup(host), lambda: is_stored(host, 1_000_000))


async def test_stopped_restore_leaves_the_container_as_it_was(host: DockerHost) -> None:
    asked = big_backup(host)
    assert (await host.backend.run(asked, ProgressRecorder())).outcome == "succeeded"
    former = host.shown("db")["Id"]
    restore = host.task("backup_restore", encode_id(os.urandom(16)), backup_id="big", container_name="db")
    baseline = await host.backend.baseline(restore)
    await stopped_once(host, replace(restore, baseline=baseline), lambda: is_writing(restore))
    assert host.shown("db")["Id"] == former


def big_backup(host: DockerHost) -> Task:
    host.engine.docker("exec", "db", "sh", "-c", "head -c 300000000 /dev/urandom > /data/big")
    return host.task("backup_create", encode_id(os.urandom(16)), backup_id="big", container_name="db")


async def stopped_once(host: DockerHost, asked: Task, is_reached: Callable[[], Awaitable[bool]]) -> None:
    """Stop an operation at some point of it, which ends it without an effect and without a process of it."""
    running = asyncio.create_task(host.backend.run(asked, ProgressRecorder()))
    await eventually(is_reached)
    assert await host.backend.stop(asked.operation_id, 3.0)
    assert (await running).outcome == "cancelled"
    assert living(asked.operation_id) == []
    assert host.shown("db")["State"]["Status"] == "running"
    assert (await host.backend.probe(asked, asked.baseline)).verdict == "no_effect"


async def is_stored(host: DockerHost, size: int) -> bool:
    files = Path(host.target.backup["repository"]).rglob("data/*/*")
    return sum(one.stat().st_size for one in files) > size


async def is_writing(asked: Task) -> bool:
    """Return whether restic has read 10 MB of the repository for this operation."""
    for process in living(asked.operation_id):
        with suppress(OSError):
            counts = dict(line.split(": ") for line in Path(f"/proc/{process}/io").read_text().splitlines())
            if int(counts["rchar"]) > 10_000_000:
                return True
    return False


async def is_paused(host: DockerHost) -> bool:
    shown = await asyncio.to_thread(host.shown, "db")
    return bool(shown["State"]["Status"] == "paused")
