"""A Docker engine of the lab with small images, as a host for suites of backends."""

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from tests.lab.engine import Engine

from writ_agent.backends.port import Task, TaskResult
from writ_agent_docker.backend import DockerBackend
from writ_containers import container_operations
from writ_contracts.inventory import Target
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.peers.programs import program
from writ_testing.suites.backend import task
from writ_testing.suites.host_cases import HostCase, HostCases

CATALOGUE = load_catalogue()
BOX, SLOW = "lab/box:1", "lab/slow:1"
PROGRAMS = ("sh", "sleep", "cat", "echo", "true", "false", "env", "httpd", "id", "ls", "touch")


def make_images(engine: Engine) -> None:
    """Make images of busybox alone; one has a slow health check."""
    make_box(engine)
    _import(engine, SLOW, "--change", "HEALTHCHECK --interval=60s --start-period=60s CMD true")


def make_box(engine: Engine) -> None:
    _import(engine, BOX)


def _import(engine: Engine, image: str, *more: str) -> None:
    """A first process without a handler gets no SIGTERM from the kernel."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(program("busybox"), "bin/busybox")
        for name in PROGRAMS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    changes = ("--change", 'CMD ["sleep", "1000"]', "--change", "STOPSIGNAL SIGKILL")
    engine.docker("import", *changes, *more, "-", image, stdin=packed.getvalue())


class DockerHost:
    """The backend, and the engine as its own command line shows it."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.engine = engine
        credentials = folder / "credentials"
        credentials.mkdir()
        (credentials / "box").touch()
        self.root = folder / "root"
        self.root.mkdir()
        self.target = Target(
            id="box",
            role="testing",
            backend="docker",
            connection={"socket": str(engine.socket)},
            mount_roots=[str(self.root)],
        )
        self.backend = DockerBackend(credentials)

    def task(self, name: str, operation_id: str, **given: Any) -> Task:
        return replace(task(CATALOGUE[name], self.target, operation_id, **given), timeout=30.0)

    def change(self, operation_id: str) -> Task:
        return self.task("container_create", operation_id, container_name=f"c-{operation_id}", image=BOX)

    def slow(self, operation_id: str) -> Task:
        return self.task("container_create", operation_id, container_name=f"s-{operation_id}", image=SLOW)

    def refused(self, operation_id: str) -> Task:
        given = {"container_name": "bad", "image": BOX, "mounts": ["/etc:/etc"]}
        return self.task("container_create", operation_id, **given)

    async def changed(self, operation_id: str) -> bool:
        return await asyncio.to_thread(self.runs, f"c-{operation_id}") is True

    async def busy(self, operation_id: str) -> bool:
        return bool(await asyncio.to_thread(self.shown, f"s-{operation_id}"))

    def host_cases(self) -> Iterator[HostCase]:
        made = HostCases(CATALOGUE, self.target, Path("/"))
        name = "trial"

        def host_case(verb: str, shows: Callable[[Any], bool], **given: Any) -> HostCase:
            return made.host_case(f"container_{verb}", shows, container_name=name, **given)

        yield host_case("create", lambda _: self.runs(name) is True, image=BOX, env={"A": "$(id) `id`\n'\"%s"})
        yield host_case("inspect", lambda seen: seen is not None and seen["env"]["A"] == "$(id) `id`\n'\"%s")
        yield host_case("stop", lambda _: self.runs(name) is False)
        yield host_case("start", lambda _: self.runs(name) is True)
        before = self.shown(name)["State"]["StartedAt"]
        yield host_case("restart", lambda _: self.shown(name)["State"]["StartedAt"] != before)
        former = self.shown(name)["Id"]
        yield host_case("update", lambda _: self.shown(name)["Id"] != former, image=BOX, recreate=True)
        yield host_case("delete", lambda _: self.runs(name) is None, force=True)
        text = f"services: {{web: {{image: {BOX}, environment: {{A: '$$(id)'}}}}}}"
        yield made.host_case("stack_deploy", lambda _: self.runs("shop-web-1") is True, stack_name="shop", compose=text)
        more = text.replace("image:", "scale: 2, labels: {edition: second}, image:")  # so that web-1 is made again, too
        yield made.host_case(
            "stack_status", lambda seen: seen is not None and seen["services"] == {"web": "running"}, stack_name="shop"
        )
        yield made.host_case(
            "container_list",
            lambda seen: seen is not None and [one["stack_name"] for one in seen["containers"]] == ["shop"],
        )
        yield made.host_case(
            "container_logs", lambda seen: seen is not None and seen["log"] == "", container_name="shop-web-1"
        )
        yield made.host_case("stack_update", lambda _: self.runs("shop-web-2") is True, stack_name="shop", compose=more)
        yield made.host_case("stack_remove", lambda _: self.runs("shop-web-1") is None, stack_name="shop")

    @property
    def elsewhere(self) -> Collection[str]:
        """A pull needs a registry: test_docker_images.py; snapshots: test_docker_snapshots.py."""
        return ("image_pull", *container_operations.SHARED)

    async def run(self, name: str, operation_id: str, **given: Any) -> TaskResult:
        return await asyncio.wait_for(self.backend.run(self.task(name, operation_id, **given), print), 60.0)

    def runs(self, name: str) -> bool | None:
        found = self.shown(name)
        return bool(found["State"]["Running"]) if found else None

    def shown(self, name: str) -> dict[str, Any]:
        """Inspect, by the command line; empty where there is none."""
        listed = self.engine.docker("ps", "--all", "--no-trunc", "--format", "{{.ID}} {{.Names}}").split("\n")
        ids = [line.split()[0] for line in listed if line.endswith(f" {name}")]
        return dict(json.loads(self.engine.docker("inspect", ids[0]))[0]) if ids else {}


@asynccontextmanager
async def docker_host(folder: Path, engine: Engine) -> AsyncIterator[DockerHost]:
    """Yield a host with an engine. Afterwards the engine has only its images."""
    made = DockerHost(folder, engine)
    try:
        yield made
    finally:
        await made.backend.close()
        engine.remove_containers()
        engine.docker("network", "prune", "--force")
        engine.docker("volume", "prune", "--all", "--force")
