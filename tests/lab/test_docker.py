"""The Docker backend on a real dockerd: the suite of backends, health, logs, settings, refusals."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.lab.docker_host import BOX, DockerHost, docker_host
from tests.lab.engine import Engine

from writ_agent.backends.port import Task
from writ_contracts.errors import WritError
from writ_contracts.ids import encode_id
from writ_testing.suites.backend import BackendSuite

pytestmark = pytest.mark.lab


@pytest.fixture
async def host(engine: Engine, tmp_path: Path) -> AsyncIterator[DockerHost]:
    async with docker_host(tmp_path, engine) as made:
        yield made


class TestDockerBackendOnAnEngine(BackendSuite):
    """The suite on a real dockerd."""


def new_id() -> str:
    return encode_id(os.urandom(16))


def test_engine_keeps_no_copy_of_the_mounts_of_a_lab(engine: Engine) -> None:
    """It would keep the loop devices of a lab that is taken down meanwhile."""
    assert os.path.ismount(Path(os.environ["LAB_KEYS"]).with_name("host1") / "volume")
    assert "run/writ-lab/" not in engine.mounts()


async def test_a_container_that_ends_at_once_fails_with_its_last_lines_and_stays(host: DockerHost) -> None:
    given = {"container_name": "ends", "image": BOX, "command": ["sh", "-c", "echo no such database; exit 3"]}
    done = await host.run("container_create", new_id(), **given)
    assert (done.outcome, done.code, done.effect) == ("failed", "container_exited", "done")
    assert done.output["log"].strip() == "no such database"
    assert done.output["exit_code"] == 3
    assert "database" not in done.message


async def test_container_that_cannot_start_is_removed_and_its_command_is_not_shown(
    host: DockerHost,
) -> None:
    given = {"container_name": "bad", "image": BOX, "command": ["no-such-program-s3cret"]}
    done = await host.run("container_create", new_id(), **given)
    assert (done.outcome, done.code, done.effect) == ("failed", "engine_refused", "none")
    assert "s3cret" not in done.message
    assert host.runs("bad") is None


async def test_container_that_is_removed_again_leaves_no_anonymous_volume(host: DockerHost) -> None:
    host.engine.docker("build", "--quiet", "--tag", "lab/data:1", "-", stdin=f"FROM {BOX}\nVOLUME /data\n".encode())
    host.engine.docker("volume", "create", "mine")
    before = host.engine.docker("volume", "ls", "--quiet")
    given = {"image": "lab/data:1", "command": ["no-such-program"], "mounts": ["mine:/mine"]}
    done = await host.run("container_create", new_id(), container_name="bad", **given)
    assert (done.outcome, host.engine.docker("volume", "ls", "--quiet")) == ("failed", before)


async def test_a_port_that_is_taken_is_a_failure_without_effect(host: DockerHost) -> None:
    given = {"image": BOX, "ports": ["127.0.0.1:18080:80"]}
    assert (await host.run("container_create", new_id(), container_name="one", **given)).outcome == "succeeded"
    done = await host.run("container_create", new_id(), container_name="two", **given)
    assert (done.outcome, done.code, done.effect) == ("failed", "engine_failed", "none")
    assert "already" in done.message
    assert host.runs("two") is None


async def test_settings_arrive_as_they_were_given(host: DockerHost) -> None:
    (host.root / "data").mkdir()
    given: dict[str, Any] = {
        "ports": ["127.0.0.1:18081:80", "81/udp"],
        "mounts": [f"{host.root}/data:/data:ro", "kept:/kept"],
        "memory": 64,
        "cpus": 0.5,
        "restart_policy": "unless-stopped",
        "command": ["sleep", "999", "$HOME; rm -rf /"],
    }
    await host.run("container_create", new_id(), container_name="full", image=BOX, start=False, **given)
    seen = host.shown("full")
    assert seen["HostConfig"]["Memory"] == 64 * 1024 * 1024
    assert seen["HostConfig"]["NanoCpus"] == 500_000_000
    assert seen["Config"]["Cmd"] == given["command"]
    done = await host.run("container_inspect", new_id(), container_name="full")
    assert done.output["ports"] == ["127.0.0.1:18081:80", "81/udp"]
    assert sorted(done.output["mounts"]) == sorted(given["mounts"])
    assert done.output["restart_policy"] == "unless-stopped"


async def test_a_name_that_is_taken_is_refused_and_its_container_left_alone(host: DockerHost) -> None:
    host.engine.docker("run", "--detach", "--name", "mine", BOX)
    with pytest.raises(WritError) as refused:
        await host.run("container_create", new_id(), container_name="mine", image=BOX)
    assert refused.value.code == "name_taken"
    assert host.runs("mine") is True


async def test_an_image_that_no_registry_has_is_a_failure_without_effect(host: DockerHost) -> None:
    with pytest.raises(WritError) as refused:
        await host.run("container_create", new_id(), container_name="none", image="127.0.0.1:1/none:1")
    assert refused.value.code == "engine_failed"
    assert host.runs("none") is None


async def test_a_restart_waits_for_health(host: DockerHost) -> None:
    check = ["--health-interval", "300ms", "--health-retries", "1"]
    host.engine.docker("run", "--detach", "--name", "ill", *check, "--health-cmd", "false", BOX)
    done = await host.run("container_restart", new_id(), container_name="ill")
    assert (done.outcome, done.code, done.effect) == ("failed", "not_healthy", "done")
    host.engine.docker("run", "--detach", "--name", "well", *check, "--health-cmd", "true", BOX)
    done = await host.run("container_restart", new_id(), container_name="well")
    assert (done.outcome, done.output["health"]) == ("succeeded", "healthy")


async def test_a_created_container_is_found_by_its_label_when_nobody_saw_the_outcome(host: DockerHost) -> None:
    task: Task = host.change(new_id())
    await host.backend.run(task, print)
    for one, verdict in ((task, "took_effect"), (host.change(new_id()), "no_effect")):
        assert (await host.backend.probe(one, {})).verdict == verdict


async def test_many_read_one_engine_beside_one_that_waits(host: DockerHost) -> None:
    await host.run("container_create", new_id(), container_name="web", image=BOX)
    slow = new_id()
    waiting = asyncio.create_task(host.backend.run(host.slow(slow), print))
    reads = [host.run("container_inspect", new_id(), container_name="web") for _ in range(150)]
    done = await asyncio.wait_for(asyncio.gather(*reads), 20.0)
    assert {one.outcome for one in done} == {"succeeded"}
    assert await host.backend.stop(slow, 1.0)
    await waiting
