"""Snapshots of containers on a real dockerd: made, listed, restored with the volumes as they are, deleted."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.lab.docker_host import BOX, DockerHost, docker_host
from tests.lab.engine import Engine

from writ_agent.backends.port import TaskResult
from writ_contracts.errors import WritError
from writ_contracts.ids import encode_id
from writ_testing.suites.backend import ProgressRecorder

pytestmark = pytest.mark.lab


@pytest.fixture
async def host(engine: Engine, tmp_path: Path) -> AsyncIterator[DockerHost]:
    async with docker_host(tmp_path, engine) as made:
        engine.docker("run", "--detach", "--name", "web", "--env", "OWN=1", "--volume", "kept:/kept", BOX)
        yield made


def new_id() -> str:
    return encode_id(os.urandom(16))


async def run(host: DockerHost, name: str, verdict: str = "took_effect", **given: Any) -> TaskResult:
    """Run it with its baseline, its preview before and its probe afterwards."""
    asked = host.task(name, new_id(), container_name="web", **given)
    if asked.operation.baseline:
        asked = replace(asked, baseline=await host.backend.baseline(asked))
    if asked.operation.preview:
        assert await host.backend.preview(asked)
    done = await host.backend.run(asked, ProgressRecorder())
    if asked.operation.probe:
        assert (await host.backend.probe(asked, asked.baseline)).verdict == verdict
    return done


async def test_a_container_goes_back_to_a_snapshot_and_its_volumes_do_not(host: DockerHost) -> None:
    host.engine.docker("exec", "web", "sh", "-c", "echo then > /state; echo then > /kept/state")
    done = await run(host, "snapshot_create", snapshot_name="before:update", description="as it was")
    assert (done.outcome, done.effect) == ("succeeded", "done")
    (entry,) = (await run(host, "snapshot_list")).output["snapshots"]
    assert (entry["snapshot_name"], entry["description"], entry["size"] > 0) == ("before:update", "as it was", True)
    assert await host.backend.listing(host.target, "list_snapshots") == ["before:update"]
    host.engine.docker("exec", "web", "sh", "-c", "echo now > /state; echo now > /kept/state")
    former = host.shown("web")["Id"]
    assert (await run(host, "snapshot_restore", snapshot_name="before:update")).outcome == "succeeded"
    assert host.shown("web")["Id"] != former
    assert host.engine.docker("exec", "web", "cat", "/state", "/kept/state") == "then\nnow\n"
    assert "OWN=1" in host.shown("web")["Config"]["Env"]
    with pytest.raises(WritError) as refused:
        await run(host, "snapshot_delete", snapshot_name="before:update")
    assert refused.value.code == "snapshot_in_use"
    host.engine.docker("rm", "--force", "web")
    host.engine.docker("run", "--detach", "--name", "web", "--volume", "kept:/kept", BOX)
    assert (await run(host, "snapshot_delete", snapshot_name="before:update")).outcome == "succeeded"
    assert (await run(host, "snapshot_list")).output["snapshots"] == []


async def test_a_snapshot_name_is_taken_once_and_belongs_to_its_container(host: DockerHost) -> None:
    await run(host, "snapshot_create", snapshot_name="one")
    with pytest.raises(WritError) as refused:
        await run(host, "snapshot_create", snapshot_name="one")
    assert refused.value.code == "name_taken"
    with pytest.raises(WritError) as refused:
        await run(host, "snapshot_restore", snapshot_name="two")
    assert refused.value.code == "snapshot_not_found"
    assert (await run(host, "snapshot_delete", snapshot_name="one")).outcome == "succeeded"


async def test_built_image_with_snapshot_labels_is_not_listed_as_a_snapshot(host: DockerHost) -> None:
    labels = ("io.writops.snapshot.container=web", "io.writops.snapshot.name=evil")
    recipe = f"FROM {BOX}\nLABEL {' '.join(labels)}\n"
    host.engine.docker("build", "--quiet", "--tag", "somebody/else:1", "-", stdin=recipe.encode())
    assert (await run(host, "snapshot_list")).output["snapshots"] == []
    with pytest.raises(WritError) as refused:
        await host.run("image_pull", new_id(), image="writops-snapshot:1")
    assert refused.value.code == "image_not_found"


async def test_images_and_volumes_are_listed(host: DockerHost) -> None:
    assert BOX in await host.backend.listing(host.target, "list_images")
    assert "kept" in await host.backend.listing(host.target, "list_volumes")
