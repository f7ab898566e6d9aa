"""A container never mounts the files of the agent itself below mount_roots: a create, an update, a stack, a backup."""

import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.agent_docker.engine_host import EngineHost

from writ_agent_docker.backend import DockerBackend
from writ_agent_docker.config import DockerAgentConfig
from writ_containers.backups.mounted_data import check_fits, mounted_data
from writ_containers.backups.repository import BackupPart
from writ_containers.engine.registries import Registries
from writ_contracts.errors import Invalid

ID = "a" * 26
REFUSED = "which reaches files of Writ itself needs allow_host_mounts"


@pytest.fixture
async def host(host: EngineHost, tmp_path: Path) -> EngineHost:
    """The agent's key, state and engines are below a folder that containers may mount."""
    for name in ("keys", "state", "site"):
        (tmp_path / name).mkdir()
    config = DockerAgentConfig(
        home=tmp_path / "keys",
        nats_url="",
        installation="",
        key_file=tmp_path / "agent.seed",
        pool="docker",
        policy_key="",
        state_dir=tmp_path / "state",
        credentials=tmp_path / "credentials",
    )
    await host.backend.close()
    host.backend = DockerBackend(config.credentials, Registries(), config.own())
    backup = {"repository": f"{tmp_path}/repository", "password_file": f"{tmp_path}/password"}
    host.target = replace(host.target, mount_roots=[str(tmp_path)], backup=backup)
    host.engine.add_image("box:2")
    return host


OWN = ["", "/keys", "/keys/policy.seed", "/state", "/agent.seed", "/credentials", "/repository", "/password"]


@pytest.mark.parametrize("name", OWN)
async def test_container_with_a_mount_of_the_agents_files_is_refused(
    host: EngineHost, tmp_path: Path, name: str
) -> None:
    bind = f"{tmp_path}{name}:/x:ro"
    stack = f"services: {{web: {{image: 'box:1', volumes: ['{bind}']}}}}"
    host.engine.put("web", HostConfig={"Binds": [bind]})
    requests: dict[str, dict[str, Any]] = {
        "container_create": {"container_name": "other", "image": "box:1", "mounts": [bind]},
        "container_update": {"container_name": "web", "image": "box:2"},
        "stack_deploy": {"stack_name": "shop", "compose": stack},
    }
    for operation, parameters in requests.items():
        task = host.task(operation, ID, **parameters)
        with pytest.raises(Invalid, match=REFUSED) as refused:
            await host.backend.preview(task)
        assert refused.value.code == "breakout_refused"
        with pytest.raises(Invalid, match=REFUSED):
            await host.backend.run(task, print)
    assert [one["Name"] for one in host.engine.containers.values()] == ["/web"]


async def test_container_with_a_mount_beside_the_agents_files_or_with_the_flag_is_created(
    host: EngineHost, tmp_path: Path
) -> None:
    site, keys = f"{tmp_path}/site:/x", f"{tmp_path}/keys:/x"
    done = await host.run("container_create", ID, container_name="aa", image="box:1", mounts=[site])
    assert done.outcome == "succeeded"
    parameters = {"image": "box:1", "mounts": [keys], "allow_host_mounts": True}
    assert (await host.run("container_create", "b" * 26, container_name="bb", **parameters)).outcome == "succeeded"


async def test_container_with_a_mount_of_what_the_backup_repository_is_a_link_to_is_refused(
    host: EngineHost, tmp_path: Path
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "backups").symlink_to(tmp_path / "disk")
    backup = {"repository": f"{tmp_path}/backups/box", "password_file": "/root/password"}
    host.target = replace(host.target, backup=backup)
    for name in ("disk", "disk/box"):
        task = host.task("container_create", ID, container_name="aa", image="box:1", mounts=[f"{tmp_path}/{name}:/x"])
        with pytest.raises(Invalid, match=REFUSED):
            await host.backend.preview(task)
    beside = [f"{tmp_path}/disk/web:/x"]
    await host.backend.preview(host.task("container_create", ID, container_name="aa", image="box:1", mounts=beside))


async def test_backup_of_a_container_leaves_the_agents_files_out(host: EngineHost, tmp_path: Path) -> None:
    raw = host.engine.put("web", HostConfig={"Binds": [f"{tmp_path}/keys:/keys", f"{tmp_path}/site:/site"]})
    mounts = [
        {"Type": "bind", "RW": True, "Source": f"{tmp_path}/{name}", "Destination": f"/{name}"}
        for name in ("keys", "site")
    ]
    async with host.backend._kept.engine(host.target) as engine:
        data = await mounted_data(engine, {**raw, "Mounts": mounts}, host.target)
    assert (data.paths, data.left_out) == (["/site"], {"/keys": "files of Writ itself"})
    assert re.fullmatch(r".*/site", data.folders["/site"])
    with pytest.raises(Invalid) as refused:
        check_fits(data, [part("/site"), part("/keys")], host.target)
    assert (refused.value.code, str(refused.value)) == (
        "backup_does_not_fit",
        "the backup has data of mounts that are left out of backups now: /keys (files of Writ itself)",
    )
    with pytest.raises(Invalid, match="the container has no volume at /data, which the backup has"):
        check_fits(data, [part("/data")], host.target)


def part(path: str) -> BackupPart:
    return BackupPart(
        reference="0" * 64,
        backup_id="b",
        operation_id=ID,
        container="web",
        path=path,
        number=1,
        of=1,
        created_at=0.0,
        size=None,
    )
