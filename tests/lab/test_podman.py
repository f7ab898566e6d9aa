"""Podman's compatible socket accepts the operations of a Docker engine, and a target test reports Podman."""

import io
import os
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.lab.docker_host import BOX, DockerHost, make_box
from tests.lab.engine import Engine
from tests.lab.podman_engine import REGISTRY_PORT, podman_engine
from tests.lab.registry import registry

from writ_containers.engine.podman import NO_BACKUPS
from writ_contracts.errors import Conflict, Invalid
from writ_contracts.ids import encode_id
from writ_testing.suites.host_cases import show

pytestmark = [pytest.mark.lab, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with podman_engine() as made:
        make_box(made)
        yield made


@pytest.fixture
async def host(engine: Engine, tmp_path: Path) -> AsyncIterator[DockerHost]:
    made = DockerHost(tmp_path, engine)
    yield made
    await made.backend.close()
    if ids := engine.docker("ps", "--all", "--quiet").split():
        engine.docker("rm", "--force", "--volumes", *ids)


def new_id() -> str:
    return encode_id(os.urandom(16))


async def test_each_operation_has_its_effect_on_podman(host: DockerHost) -> None:
    for host_case in host.host_cases():
        await show(host.backend, host_case)


async def test_target_test_reports_podman_and_its_version(host: DockerHost) -> None:
    found = await host.backend.test_target(host.target)
    assert found.code == ""
    assert found.versions["engine"].startswith("Podman ")
    assert found.lacking == dict.fromkeys(("backup_create", "backup_restore"), NO_BACKUPS)


async def test_a_container_of_podman_is_judged_as_one_of_docker(host: DockerHost) -> None:
    """Podman shows a private namespace by the word private."""
    host.engine.docker("run", "--detach", "--name", "open", "--pid", "host", "--publish", "127.0.0.1:8080:80", BOX)
    given = {"container_name": "open", "image": BOX, "recreate": True}
    with pytest.raises(Invalid, match="open: pid host needs allow_host_namespaces"):
        await host.run("container_update", new_id(), **given)
    with pytest.raises(Invalid, match=r"open: port 127\.0\.0\.1:8080 is outside only_ports") as refused:
        await host.run("container_update", new_id(), **given, allow_host_namespaces=True, only_ports=["127.0.0.1:80"])
    assert refused.value.code == "bounds_refused"
    done = await host.run("container_update", new_id(), **given, allow_host_namespaces=True, only_ports=["127.0.0.1"])
    assert (done.outcome, done.message) == ("succeeded", "")


async def test_a_container_that_ends_at_once_fails_with_its_last_lines(host: DockerHost) -> None:
    given = {"container_name": "ends", "image": BOX, "command": ["sh", "-c", "echo no such database; exit 3"]}
    done = await host.run("container_create", new_id(), **given)
    assert (done.outcome, done.code, done.effect) == ("failed", "container_exited", "done")
    assert done.output["log"].strip() == "no such database"
    assert done.output["exit_code"] == 3


async def test_snapshot_of_a_container_is_made_restored_and_deleted(host: DockerHost) -> None:
    """Podman shows a local name below docker.io/library."""
    host.engine.docker("run", "--detach", "--name", "web", "--cpus", "0.5", BOX)
    host.engine.docker("exec", "web", "sh", "-c", "echo then > /state")
    names = {"container_name": "web", "snapshot_name": "before"}
    create = host.task("snapshot_create", new_id(), **names)
    assert (await host.backend.run(create, print)).outcome == "succeeded"
    assert (await host.backend.probe(create, {})).verdict == "took_effect"
    host.engine.docker("exec", "web", "sh", "-c", "echo now > /state")
    assert (await host.run("snapshot_restore", new_id(), **names)).outcome == "succeeded"
    assert host.engine.docker("exec", "web", "cat", "/state") == "then\n"
    assert host.shown("web")["HostConfig"]["NanoCpus"] == 500_000_000
    with pytest.raises(Conflict) as refused:
        await host.run("snapshot_delete", new_id(), **names)
    assert refused.value.code == "snapshot_in_use"
    host.engine.docker("rm", "--force", "web")
    assert (await host.run("snapshot_delete", new_id(), **names)).outcome == "succeeded"
    assert (await host.run("snapshot_list", new_id(), container_name="web")).output["snapshots"] == []


async def test_archive_of_podman_loses_owners_so_a_backup_is_refused(host: DockerHost) -> None:
    host.engine.docker("run", "--detach", "--name", "db", "--volume", "data:/data", "--user", "7:8", BOX)
    host.engine.docker("exec", "--user", "0", "db", "touch", "/data/of-root")
    async with host.backend._engines.engine(host.target) as engine:
        container = str((await engine.find("db"))["Id"])
        packed = io.BytesIO(b"".join([piece async for piece in engine.archive(container, "/data")]))
    with tarfile.open(fileobj=packed) as tar:
        assert tar.getmember("data/of-root").uid == 7  # a release that keeps them needs no refusal
    with pytest.raises(Invalid, match="would lose their owners"):
        await host.run("backup_create", new_id(), container_name="db", backup_id="one")


async def test_image_is_pulled_from_a_registry(host: DockerHost, tmp_path: Path) -> None:
    """The last line of Podman's stream has the id of the image, and no text of Docker's."""
    with registry(tmp_path / "registry", port=REGISTRY_PORT) as where:
        image = f"{where}/box:1"
        host.engine.docker("tag", BOX, image)
        host.engine.docker("push", image)
        host.engine.docker("rmi", image)
        for changed in (True, False):
            done = await host.run("image_pull", new_id(), image=image)
            assert (done.outcome, done.output["changed"]) == ("succeeded", changed)
        host.engine.docker("rmi", image)
        done = await host.run("container_create", new_id(), container_name="web", image=image)
        assert done.outcome == "succeeded"
    assert {image, BOX} <= {*await host.backend.listing(host.target, "list_images")}


async def test_create_that_is_taken_back_leaves_an_anonymous_volume_that_it_names(host: DockerHost) -> None:
    """Podman removes a volume that once came into being without a name together with its last container."""
    docker = host.engine.docker
    docker("run", "--detach", "--name", "db", "--volume", "/data", BOX)
    volume = docker("inspect", "--format", "{{(index .Mounts 0).Name}}", "db").strip()
    docker("rm", "--force", "db")
    given = {"image": BOX, "command": ["no-such-program"], "mounts": [f"{volume}:/data"]}
    done = await host.run("container_create", new_id(), container_name="new", **given)
    assert done.outcome == "failed"
    assert volume in docker("volume", "ls", "--quiet").split()
