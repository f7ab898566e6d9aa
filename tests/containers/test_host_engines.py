"""Agents of hosts operate the engines on them, on this machine and over a real sshd, also while an engine is absent."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from writ_agent.backends.port import Task, TaskResult
from writ_agent_local.backend import LocalBackend
from writ_agent_ssh.backend import SshBackend
from writ_agent_ssh.connection.credentials import SshCredentials
from writ_agent_ssh.connection.host_keys import KnownHosts
from writ_agent_ssh.engines import ForwardedEngines, HostStackFiles
from writ_agent_ssh.host_sessions.pool import Pool
from writ_agent_ssh.settings import connection_of
from writ_agent_ssh.startup.archive import build
from writ_containers.backups.repository import repository_of
from writ_containers.engine.podman import NO_BACKUPS
from writ_containers.engine.registries import Registries
from writ_containers.host_engines import BackendWithEngines, local_engines
from writ_contracts.errors import WritError
from writ_contracts.ids import encode_id
from writ_contracts.inventory import Target
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.eventually import eventually
from writ_testing.fakes.docker_engine import FakeEngine, fake_engine
from writ_testing.fakes.engine_storage import tar_of
from writ_testing.peers.restic_repository import create_repository
from writ_testing.peers.sshd import sshd
from writ_testing.suites.backend import ProgressRecorder, task

CATALOGUE = load_catalogue()
ARCHIVE = build()
LOCAL_FORWARDING_OFF = "AllowStreamLocalForwarding no"


class EngineOnHost(NamedTuple):
    """A host with a fake engine, and its backend."""

    backend: BackendWithEngines
    target: Target
    engine: FakeEngine
    folder: Path
    pool: Pool | None = None

    def task(self, name: str, **parameters: Any) -> Task:
        return replace(task(CATALOGUE[name], self.target, encode_id(os.urandom(16)), **parameters), timeout=20.0)

    async def run(self, name: str, **parameters: Any) -> TaskResult:
        return await asyncio.wait_for(self.backend.run(self.task(name, **parameters), ProgressRecorder()), 30.0)


@asynccontextmanager
async def on_this_host(folder: Path, engine: FakeEngine) -> AsyncIterator[EngineOnHost]:
    backend = BackendWithEngines(LocalBackend([], folder / "marks"), local_engines(Registries()))
    target = Target(id="here", role="testing", backend="local", docker=declared(engine), stack_dir=str(folder))
    yield EngineOnHost(backend, replace(target, file_roots=[str(folder)]), engine, folder)
    await backend.containers.close()


@asynccontextmanager
async def over_ssh(folder: Path, engine: FakeEngine, *options: str) -> AsyncIterator[EngineOnHost]:
    async with sshd(folder / "ssh", *options) as server:
        server.trust()
        pool = Pool(ARCHIVE, SshCredentials(server.keys), KnownHosts(server.known_hosts), idle=600.0, connects=4)
        hosts = SshBackend(pool, ARCHIVE.operations)
        backend = BackendWithEngines(hosts, ForwardedEngines(pool, Registries(), HostStackFiles(hosts)))
        target = server.target(docker=declared(engine), stack_dir=str(folder), file_roots=[str(folder)])
        yield EngineOnHost(backend, target, engine, folder, pool)
        await backend.containers.close()
        await hosts.close()


def declared(engine: FakeEngine) -> dict[str, Any]:
    return {"socket": str(engine.socket), "reply_timeout": 2}


@pytest.fixture(params=[on_this_host, over_ssh])
async def host(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EngineOnHost]:
    async with fake_engine(tmp_path / "e.sock") as engine, request.param(tmp_path, engine) as made:
        yield made


async def test_containers_of_an_engine_on_a_host_are_created_shown_and_listed(host: EngineOnHost) -> None:
    preview = await host.backend.preview(host.task("container_create", container_name="web", image="box:1"))
    assert preview["calls"] == ["POST /containers/create?name=web", "POST /containers/{id}/start"]
    create = host.task("container_create", container_name="web", image="box:1")
    assert (await host.backend.run(create, ProgressRecorder())).outcome == "succeeded"
    assert (await host.backend.probe(create, {})).verdict == "took_effect"
    assert (await host.run("container_inspect", container_name="web")).output["state"] == "running"
    assert await host.backend.listing(host.target, "list_containers") == ["web"]
    assert (await host.run("container_delete", container_name="web", force=True)).outcome == "succeeded"
    assert host.engine.named("web") is None


async def test_wait_for_a_turn_to_connect_is_named_apart_from_the_time_of_an_operation(tmp_path: Path) -> None:
    async with fake_engine(tmp_path / "e.sock") as engine, over_ssh(tmp_path, engine) as host:
        assert host.pool is not None
        task = host.task("container_list")
        async with AsyncExitStack() as held:
            for _ in range(4):
                await held.enter_async_context(host.pool._making[connection_of(host.target).way])
            run = asyncio.create_task(host.backend.run(task, ProgressRecorder()))

            async def waited() -> bool:
                return host.backend.queued_seconds(task.operation_id) > 0.2

            await eventually(waited)
        assert (await run).outcome == "succeeded"
        assert host.backend.queued_seconds(task.operation_id) == 0.0


async def test_stack_file_is_read_on_the_host_of_the_engine(host: EngineOnHost) -> None:
    (host.folder / "shop.yaml").write_text("services: {web: {image: 'box:1', privileged: true}}")
    with pytest.raises(WritError, match="web: privileged needs allow_privileged"):
        await host.backend.preview(host.task("stack_deploy", stack_name="shop", source="shop.yaml"))
    (host.folder / "link.yaml").symlink_to(host.folder / "shop.yaml")
    with pytest.raises(WritError, match=r"link|symbolic"):
        await host.backend.preview(host.task("stack_deploy", stack_name="shop", source="link.yaml"))


async def test_absent_engine_leaves_the_other_operations_of_its_host(host: EngineOnHost) -> None:
    await host.engine.stop()
    with pytest.raises(WritError) as refused:
        await host.run("container_list")
    assert refused.value.code == "unreachable"
    (host.folder / "seen").write_text("yes")
    assert (await host.run("file_read", file_path=f"{host.folder}/seen")).output["content"] == "yes"
    found = await host.backend.test_target(host.target)
    assert (found.code, "file_read" in found.operations) == ("", True)
    assert "container_list" not in found.operations
    assert "cannot be reached" in found.lacking["container_list"] or "not reachable" in found.lacking["container_list"]
    await host.engine.start()
    assert (await host.run("container_list")).outcome == "succeeded"
    assert "container_list" in (await host.backend.test_target(host.target)).operations


async def test_engine_that_the_target_does_not_declare_is_missing(host: EngineOnHost) -> None:
    bare = host._replace(target=replace(host.target, docker=None))
    with pytest.raises(WritError) as refused:
        await bare.run("container_list")
    assert refused.value.code == "no_engine"
    with pytest.raises(WritError, match="cannot list containers"):
        await bare.backend.listing(bare.target, "list_containers")
    assert "declares no engine" in (await bare.backend.test_target(bare.target)).lacking["stack_deploy"]


async def test_snapshot_of_a_container_is_the_engines_and_of_a_path_the_hosts(host: EngineOnHost) -> None:
    done = await host.run("snapshot_list", container_name="web")
    assert (done.outcome, done.output["snapshots"]) == ("succeeded", [])
    assert any("/images/json" in one for one in host.engine.requests)
    with pytest.raises(WritError) as refused:
        await host.backend.preview(host.task("snapshot_create", container_name="web", snapshot_name="one"))
    assert refused.value.code == "container_not_found"
    path = host.task("snapshot_create", target_path=str(host.folder), snapshot_name="one")
    with pytest.raises(WritError) as refused:
        await host.backend.preview(path)
    assert refused.value.code not in ("container_not_found", "no_engine")


async def test_podman_refuses_backups_of_containers_and_its_host_makes_others(host: EngineOnHost) -> None:
    host.engine.more_version = {"Version": "5.4.2", "Components": [{"Name": "Podman Engine"}]}
    host.engine.put("web", HostConfig={"Mounts": [{"Type": "volume", "Source": "data", "Target": "/data"}]})
    for name in ("backup_create", "backup_restore"):
        task = host.task(name, container_name="web", backup_id="one")
        for attempt in (host.backend.run(task, ProgressRecorder()), host.backend.preview(task)):
            with pytest.raises(WritError, match="would lose their owners") as refused:
                await attempt
            assert refused.value.code == "unsupported"
    assert not host.engine.changes
    assert NO_BACKUPS not in (await host.backend.test_target(host.target)).lacking.values()


async def test_stop_ends_an_operation_on_the_engine_of_a_host(host: EngineOnHost) -> None:
    create = host.task("container_create", container_name="web", image="slow:1")
    running = asyncio.create_task(host.backend.run(create, ProgressRecorder()))
    await eventually(lambda: _is(host.engine.pulls == ["slow:1"]))
    assert await host.backend.stop(create.operation_id, 1.0)
    assert (await running).outcome == "cancelled"


async def _is(so: bool) -> bool:
    return so


async def test_broken_connection_is_made_again_for_the_next_operation(tmp_path: Path) -> None:
    async with fake_engine(tmp_path / "e.sock") as engine, over_ssh(tmp_path, engine) as host:
        assert (await host.run("container_list")).outcome == "succeeded"
        assert host.pool is not None
        host.pool.drop(host.target)
        assert (await host.run("container_list")).outcome == "succeeded"


async def test_host_that_forwards_no_sockets_is_named_as_the_reason(tmp_path: Path) -> None:
    async with fake_engine(tmp_path / "e.sock") as engine, over_ssh(tmp_path, engine, LOCAL_FORWARDING_OFF) as host:
        with pytest.raises(WritError) as refused:
            await host.run("container_list")
        assert refused.value.code == "unreachable"
        assert "AllowStreamLocalForwarding" in str(refused.value)


@pytest.mark.exhaustive
async def test_target_test_shows_the_disk_of_the_engine(host: EngineOnHost) -> None:
    host.engine.more_info["DockerRootDir"] = str(host.folder)
    disk = (await host.backend.test_target(host.target)).versions["disk"]
    assert re.fullmatch(rf"[0-9.e+]+ [kMGT]?B free of [0-9.e+]+ [kMGT]B at {host.folder}(: low, .*)?", disk), disk
    host.engine.more_info["DockerRootDir"] = f"{host.folder}/absent"
    disk = (await host.backend.test_target(host.target)).versions["disk"]
    assert disk == "images 1.5 GB, containers 2.5 kB; free space is not seen from here"
    host.engine.fail("GET", "/system/df", 500)
    found = await host.backend.test_target(host.target)
    assert found.versions["disk"].startswith("not known: the engine answers")
    assert "container_create" in found.operations


@pytest.mark.exhaustive
async def test_volume_and_folder_of_a_container_over_ssh_are_backed_up_and_restored(tmp_path: Path) -> None:
    async with fake_engine(tmp_path / "e.sock") as engine, over_ssh(tmp_path, engine) as made:
        volume = {"Type": "volume", "Source": "data", "Target": "/data"}
        bind = {"Type": "bind", "Source": "/srv/shop", "Target": "/shop"}
        engine.put("web", running=True, HostConfig={"Mounts": [volume, bind]})
        engine.files |= {"data": tar_of("data", "then"), "/srv/shop": tar_of("shop", "then")}
        parameters = {"container_name": "web", "backup_id": "then"}
        with pytest.raises(WritError, match=r"docker: \{backup: ") as refused:
            await made.run("backup_create", **parameters)
        assert refused.value.code == "not_declared"
        declared_backup = {"repository": str(tmp_path / "repository"), "password_file": str(tmp_path / "password")}
        host = made._replace(
            target=replace(made.target, mount_roots=["/srv"], docker={**declared(engine), "backup": declared_backup})
        )
        (tmp_path / "password").write_text("word")
        create_repository(tmp_path / "repository", "word")
        assert (await host.run("backup_create", **parameters)).outcome == "succeeded"
        engine.files |= {"data": tar_of("data", "now"), "/srv/shop": tar_of("shop", "now")}
        restored = await host.run("backup_restore", **parameters)
        assert restored.outcome == "succeeded", restored
        mounts = (engine.named("web") or {})["Mounts"]
        places = [one.get("Name") or one.get("Source") for one in mounts]
        assert {engine.files[place] for place in places} == {tar_of("data", "then"), tar_of("shop", "then")}
        assert engine.files["/srv/shop"] == tar_of("shop", "now")
        (listed,) = (await host.run("backup_list", container_name="web")).output["backups"]
        assert listed["backup_id"] == "then"
        assert repository_of(host.target, "a" * 26).host == host.target.id  # two hosts may have one repository


async def test_backup_is_deleted_in_the_name_of_its_own_container_alone(tmp_path: Path) -> None:
    """A rule may permit the deletion of the backups of one container."""
    async with fake_engine(tmp_path / "e.sock") as engine, on_this_host(tmp_path, engine) as made:
        engine.put("db", running=True, HostConfig={"Mounts": [{"Type": "volume", "Source": "d", "Target": "/d"}]})
        engine.files["d"] = tar_of("d", "then")
        backup = {"repository": str(tmp_path / "repository"), "password_file": str(tmp_path / "password")}
        host = made._replace(target=replace(made.target, backup=backup))
        (tmp_path / "password").write_text("word")
        create_repository(tmp_path / "repository", "word")
        assert (await host.run("backup_create", container_name="db", backup_id="b")).outcome == "succeeded"
        delete = host.task("backup_delete", container_name="web", backup_id="b")
        for attempt in (host.backend.preview, partial(host.backend.run, progress=ProgressRecorder())):
            with pytest.raises(WritError, match="of container db, not of web") as error:
                await attempt(delete)
            assert error.value.code == "other_container"
        assert (await host.run("backup_delete", container_name="db", backup_id="b")).outcome == "succeeded"


async def test_shared_operation_that_the_host_does_not_know_is_not_settled(
    tmp_path: Path,
) -> None:
    async with fake_engine(tmp_path / "e.sock") as engine, over_ssh(tmp_path, engine) as made:
        shared = replace(made.task("backup_restore", container_name="web", backup_id="x"), parameters={})
        assert await made.backend.settle(shared) is None


async def test_container_mounts_no_files_of_hostops_in_the_home_of_its_account(tmp_path: Path) -> None:
    async with fake_engine(tmp_path / "e.sock") as engine, over_ssh(tmp_path, engine) as made:
        user = made.target.connection["user"]
        host = made._replace(target=replace(made.target, mount_roots=["/home"]))
        create = {"container_name": "web", "image": "box:1"}
        for path in (f"/home/{user}", f"/home/{user}/.local/state/writ-hostops/code", made.target.connection["folder"]):
            with pytest.raises(WritError, match="needs allow_host_mounts"):
                await host.backend.preview(host.task("container_create", mounts=[f"{path}:/x"], **create))
        for path in (f"/home/{user}/site", "/home/of-another"):
            await host.backend.preview(host.task("container_create", mounts=[f"{path}:/x"], **create))


async def test_stack_file_that_is_written_after_its_preview_is_not_run(host: EngineOnHost) -> None:
    file = host.folder / "shop.yaml"
    file.write_text("services: {web: {image: 'box:1', environment: {A: '${A}'}}}")
    deploy = host.task("stack_deploy", stack_name="shop", source="shop.yaml", env={"A": "1"})
    baseline = await host.backend.baseline(deploy)
    shown = replace(deploy, parameters={"stack_name": "shop", "source": "shop.yaml"})
    assert (await host.backend.baseline(shown))["source_version"] == baseline["source_version"] != ""
    assert (await host.backend.preview(deploy))["source_version"] == baseline["source_version"]
    (host.folder / "other.yaml").write_text("services: {web: {image: 'box:1', command: [other]}}")
    (host.folder / "other.yaml").replace(file)
    assert (await host.backend.baseline(shown))["source_version"] != baseline["source_version"]
    with pytest.raises(WritError) as refused:
        await host.backend.run(replace(deploy, baseline=baseline), ProgressRecorder())
    assert (refused.value.code, host.engine.changes) == ("source_changed", [])


@pytest.mark.exhaustive
async def test_baseline_of_a_deploy_needs_no_secret_parameter(host: EngineOnHost) -> None:
    shown = host.task("stack_deploy", stack_name="shop", compose="services: {web: {image: 'box:1'}}")
    assert (await host.backend.baseline(shown))["expected"] == {"web": 1}
    without = await host.backend.baseline(replace(shown, parameters={"stack_name": "shop"}))
    assert (without["containers"], "expected" in without) == ([], False)
