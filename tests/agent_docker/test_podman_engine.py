"""Podman on a fake engine, where it differs from Docker: removals of volumes, ends of pulls, names of snapshots."""

import os

import pytest
from tests.agent_docker.engine_host import EngineHost

from writ_contracts.errors import Invalid, TimedOut, WritError
from writ_contracts.ids import encode_id
from writ_testing.fakes.docker_engine import EngineFault

ID = encode_id(os.urandom(16))
ANONYMOUS = "f" * 64
NEW = {"image": "new:1"}
UNREAD = EngineFault("GET", "/images/.*json$", 500, times=1_000)


@pytest.fixture
def host(host: EngineHost) -> EngineHost:
    host.engine.podman = True
    return host


@pytest.mark.parametrize("mount", [f"{ANONYMOUS}:/data", f"{ANONYMOUS}:/data:ro"])
async def test_create_that_is_taken_back_leaves_an_anonymous_volume_that_it_names(host: EngineHost, mount: str) -> None:
    host.engine.volumes[ANONYMOUS] = {"Name": ANONYMOUS, "Labels": {}}
    host.engine.fail("POST", "/start$", 500)
    mounts = ["/srv/web:/srv", mount]
    done = await host.run("container_create", ID, container_name="web", image="box:1", mounts=mounts)
    assert (done.outcome, host.engine.containers) == ("failed", {})
    assert [*host.engine.volumes] == [ANONYMOUS]


async def test_pull_ends_with_the_id_of_its_image(host: EngineHost) -> None:
    host.engine.pullable |= {"new:1", "new:2", "new:3"}
    assert (await host.run("image_pull", ID, image="new:1")).output["changed"]
    done = await host.run("container_create", ID, container_name="web", image="new:2")
    assert done.outcome == "succeeded"
    done = await host.run("container_update", ID, container_name="web", image="new:3")
    assert done.outcome == "succeeded"


async def test_pull_whose_image_cannot_be_read_is_no_refusal(host: EngineHost) -> None:
    host.engine.pullable.add("new:1")
    host.engine.after_change = [UNREAD]
    done = await host.run("image_pull", ID, **NEW)
    assert (done.outcome, done.code, done.effect) == ("unknown", "engine_failed", "maybe")
    assert done.message.startswith("the pull has ended, but the image could not be read")


async def test_container_whose_pulled_image_cannot_be_read_is_not_created(host: EngineHost) -> None:
    host.engine.pullable.add("new:1")
    host.engine.after_change = [UNREAD]
    with pytest.raises(WritError) as refused:
        await host.run("container_create", ID, container_name="web", **NEW)
    assert (refused.value.code, host.engine.containers) == ("engine_failed", {})


@pytest.mark.parametrize("operation", ["image_pull", "container_create", "container_update"])
async def test_stream_that_ends_with_the_line_of_a_layer_is_no_whole_pull(host: EngineHost, operation: str) -> None:
    host.engine.put("web", running=True)
    host.engine.pullable.add("new:1")
    host.engine.layer = "e" * 12
    names = {"image_pull": {}, "container_create": {"container_name": "new"}}
    with pytest.raises(TimedOut, match="the pull ended before its last line"):
        await host.run(operation, ID, **NEW, **names.get(operation, {"container_name": "web"}))
    assert len(host.engine.containers) == 1


@pytest.mark.parametrize("below", ["docker.io/library/", "localhost/"])
async def test_snapshot_is_found_by_the_name_that_podman_gives_it(host: EngineHost, below: str) -> None:
    """Podman adds `localhost/` if `compat_api_enforce_docker_hub` is false."""
    host.engine.committed_below = below
    host.engine.put("web", running=True)
    names = {"container_name": "web", "snapshot_name": "one"}
    assert (await host.run("snapshot_create", ID, **names)).outcome == "succeeded"
    [one] = (await host.run("snapshot_list", ID, container_name="web")).output["snapshots"]
    assert one["snapshot_name"] == "one"
    assert (await host.run("snapshot_delete", ID, **names)).outcome == "succeeded"


async def test_stack_cannot_pull_a_snapshot_from_a_registry_named_localhost(host: EngineHost) -> None:
    compose = "services: {web: {image: 'localhost/writops-snapshot:one'}}"
    with pytest.raises(Invalid, match="the name of a snapshot") as refused:
        await host.run("stack_deploy", ID, stack_name="shop", compose=compose)
    assert refused.value.code == "compose_refused"
