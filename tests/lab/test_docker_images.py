"""Pulls from a real registry, open and closed, and updates of containers, on a real dockerd."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.lab.docker_host import BOX, DockerHost, docker_host, make_images
from tests.lab.engine import Engine, bare_engine
from tests.lab.registry import PASSWORD, USER, registry

from writ_agent.backends.port import TaskResult
from writ_agent_docker.backend import DockerBackend
from writ_containers.engine.registries import Registries
from writ_contracts.errors import WritError
from writ_contracts.ids import encode_id
from writ_testing.suites.backend import ProgressRecorder

pytestmark = pytest.mark.lab
MARKED, ILL = "lab/box:2", "lab/ill:1"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with bare_engine() as made:
        make_images(made)
        for image, change in ((MARKED, "ENV VERSION=2"), (ILL, "CMD false")):
            recipe = f"FROM {BOX}\n{change}\n"
            made.docker("build", "--quiet", "--tag", image, "-", stdin=recipe.encode(), timeout=300)
        yield made


@pytest.fixture(scope="module")
def registries(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """An open one and a closed one, each with `box:1`."""
    folder = tmp_path_factory.mktemp("registries")
    with registry(folder / "open") as first, registry(folder / "closed", closed=True) as second:
        engine.docker("login", "--username", USER, "--password-stdin", second, stdin=PASSWORD.encode())
        for one in (first, second):
            engine.docker("tag", BOX, f"{one}/box:1")
            engine.docker("push", "--quiet", f"{one}/box:1")
            engine.docker("rmi", f"{one}/box:1")
        yield first, second


@pytest.fixture
async def host(engine: Engine, tmp_path: Path) -> AsyncIterator[DockerHost]:
    async with docker_host(tmp_path, engine) as made:
        yield made


def new_id() -> str:
    return encode_id(os.urandom(16))


def with_credentials(host: DockerHost, folder: Path, where: str) -> None:
    (folder / "registries").mkdir()
    (folder / "registries" / where).touch(mode=0o600)
    (folder / "registries" / where).write_text(f"{USER}:{PASSWORD}\n")
    host.backend = DockerBackend(folder / "credentials", Registries(folder / "registries"))


async def update(host: DockerHost, image: str, name: str = "web", **given: Any) -> TaskResult:
    asked = host.task("container_update", new_id(), container_name=name, image=image, **given)
    asked = replace(asked, baseline=await host.backend.baseline(asked))
    done = await host.backend.run(asked, ProgressRecorder())
    verdict = (await host.backend.probe(asked, asked.baseline)).verdict
    assert verdict == ("took_effect" if done.outcome == "succeeded" and done.effect == "done" else "no_effect")
    return done


async def test_an_open_registry_serves_a_pull(host: DockerHost, registries: tuple[str, str]) -> None:
    image = f"{registries[0]}/box:1"
    done = await host.run("image_pull", new_id(), image=image)
    assert (done.outcome, done.output["changed"]) == ("succeeded", True)
    assert done.output["repo_digests"][0].startswith(f"{registries[0]}/box@sha256:")
    assert (await host.run("image_pull", new_id(), image=image)).output["changed"] is False
    by_digest = done.output["repo_digests"][0]
    assert (
        await host.run("container_create", new_id(), container_name="by-digest", image=by_digest)
    ).outcome == "succeeded"


async def test_a_closed_registry_serves_those_with_credentials(
    host: DockerHost, registries: tuple[str, str], tmp_path: Path
) -> None:
    image = f"{registries[1]}/box:1"
    with pytest.raises(WritError) as refused:
        await host.run("image_pull", new_id(), image=image)
    assert refused.value.code in ("engine_failed", "engine_refused")
    await host.backend.close()
    with_credentials(host, tmp_path, registries[1])
    progress = ProgressRecorder()
    done = await host.backend.run(host.task("image_pull", new_id(), image=image), progress)
    assert done.outcome == "succeeded"
    assert PASSWORD not in repr((done, progress.__dict__))
    host.engine.docker("rmi", image)
    text = f"services: {{web: {{image: '{image}'}}}}"
    assert (await host.run("stack_deploy", new_id(), stack_name="shop", compose=text)).outcome == "succeeded"


async def test_an_update_keeps_what_the_container_was_given(host: DockerHost) -> None:
    host.engine.docker("network", "create", "front")
    (host.root / "data").mkdir()
    own = ["--env", "OWN=1", "--volume", f"{host.root}/data:/data:ro", "--volume", "/anonymous", "--network", "front"]
    own += ["--network-alias", "shop", "--publish", "127.0.0.1:18090:80", "--memory", "64m", "--restart", "always"]
    host.engine.docker("run", "--detach", "--name", "web", *own, BOX, "sh", "-c", "echo kept > /anonymous/x; sleep 999")
    before = host.shown("web")
    done = await update(host, MARKED)
    assert (done.outcome, done.message) == ("succeeded", "")
    now = host.shown("web")
    assert now["Id"] != before["Id"]
    assert {"OWN=1", "VERSION=2"} <= set(now["Config"]["Env"])
    for key in ("Binds", "PortBindings", "Memory", "RestartPolicy", "NetworkMode"):
        assert now["HostConfig"][key] == before["HostConfig"][key], key
    assert "shop" in now["NetworkSettings"]["Networks"]["front"]["Aliases"]
    assert host.engine.docker("exec", "web", "cat", "/anonymous/x") == "kept\n"
    assert host.engine.docker("ps", "--all", "--format", "{{.Names}}").split() == ["web"]


@pytest.mark.parametrize("image", [ILL, "127.0.0.1:1/none:1"])
async def test_an_update_that_does_not_work_leaves_the_former_container_running(host: DockerHost, image: str) -> None:
    host.engine.docker("run", "--detach", "--name", "web", BOX)
    before = host.shown("web")
    if image == ILL:
        done = await update(host, image)
        assert (done.outcome, done.code, done.output["rolled_back"]) == ("failed", "container_exited", True)
    else:
        with pytest.raises(WritError):
            await update(host, image)
    assert (host.shown("web")["Id"], host.runs("web")) == (before["Id"], True)
    assert host.engine.docker("ps", "--all", "--format", "{{.Names}}").split() == ["web"]
