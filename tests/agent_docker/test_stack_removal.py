"""The removal of a stack names the volumes that go, and those that stay."""

import pytest
from tests.agent_docker.engine_host import EngineHost

from writ_containers.containers.container_view import PROJECT_LABEL
from writ_containers.stacks import swarm_api

OWN = {PROJECT_LABEL: "shop"}
ANONYMOUS = "f" * 64
"""Compose lets the engine name it, and gives it no label."""
MOUNTS = [
    {"Type": "volume", "Source": "shop_data", "Target": "/data", "VolumeOptions": {"Labels": OWN}},
    {"Type": "volume", "Source": ANONYMOUS, "Target": "/scratch"},
    {"Type": "bind", "Source": "/srv/shop", "Target": "/srv"},
]


@pytest.mark.parametrize(
    ("volumes", "removed", "kept"), [(True, ["shop_data"], [ANONYMOUS]), (False, [], [ANONYMOUS, "shop_data"])]
)
async def test_preview_and_result_name_the_volumes_that_stay(
    host: EngineHost, volumes: bool, removed: list[str], kept: list[str]
) -> None:
    host.engine._new("shop-web-1", {"Image": "box:1", "Labels": OWN, "HostConfig": {"Mounts": MOUNTS}})
    task = host.task("stack_remove", "a" * 26, stack_name="shop", volumes=volumes)
    preview = await host.backend.preview(task)
    done = await host.backend.run(task, print)
    assert (done.outcome, done.effect) == ("succeeded", "done")
    for shown in (preview, done.output):
        assert (shown["volumes"], shown["kept_volumes"]) == (removed, kept)
    assert sorted(host.engine.volumes) == kept
    again = await host.backend.run(host.task("stack_remove", "b" * 26, stack_name="shop", volumes=False), print)
    assert (again.effect, again.output["kept_volumes"]) == ("none", [])


async def test_preview_in_a_swarm_does_not_say_that_no_volume_stays(
    host: EngineHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def none(*_: object) -> list[object]:
        return []

    monkeypatch.setattr(swarm_api, "services", none)
    monkeypatch.setattr(swarm_api, "tasks", none)
    preview = await host.backend.preview(host.task("stack_remove", "a" * 26, stack_name="shop", volumes=False))
    assert preview == {"removes": [], "volumes": []}
