"""A backend on an engine, with tasks for it."""

import asyncio
from collections.abc import Collection, Iterator
from copy import copy
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from writ_agent.backends.port import Task, TaskResult
from writ_agent_docker.backend import DockerBackend
from writ_containers import container_operations
from writ_contracts.inventory import Target
from writ_runtime.plugins.entry_points import load_catalogue
from writ_testing.fakes.docker_engine import FakeEngine
from writ_testing.suites.backend import task
from writ_testing.suites.host_cases import HostCase, HostCases

CATALOGUE = load_catalogue()


class EngineHost:
    """`engine` listens at the target's socket."""

    def __init__(self, folder: Path, engine: FakeEngine) -> None:
        self.engine = engine
        credentials = folder / "credentials"
        credentials.mkdir()
        (credentials / "box").touch()
        self.target = Target(
            id="box",
            role="testing",
            backend="docker",
            connection={"socket": str(engine.socket), "reply_timeout": 2},
            mount_roots=["/srv"],
        )
        self.backend = DockerBackend(credentials)

    def again(self) -> "EngineHost":
        """The agent started again: nothing is kept but the engine."""
        other = copy(self)
        other.backend = DockerBackend(self.engine.socket.parent / "credentials")
        return other

    def task(self, name: str, operation_id: str, timeout: float = 20.0, **parameters: Any) -> Task:
        """Return a task with its own timeout."""
        return replace(task(CATALOGUE[name], self.target, operation_id, **parameters), timeout=timeout)

    def change(self, operation_id: str) -> Task:
        return self.task("container_create", operation_id, container_name=f"c-{operation_id}", image="box:1")

    def slow(self, operation_id: str) -> Task:
        """The registry never ends."""
        image = f"slow:{operation_id}"
        return self.task("container_create", operation_id, container_name=f"c-{operation_id}", image=image)

    def refused(self, operation_id: str) -> Task:
        mounts = ["/etc:/etc"]
        return self.task("container_create", operation_id, container_name="bad", image="box:1", mounts=mounts)

    async def changed(self, operation_id: str) -> bool:
        found = self.engine.named(f"c-{operation_id}")
        return found is not None and found["State"]["Running"]

    async def busy(self, operation_id: str) -> bool:
        await asyncio.sleep(0)
        return f"slow:{operation_id}" in self.engine.pulls

    def host_cases(self) -> Iterator[HostCase]:
        made = HostCases(CATALOGUE, self.target, Path("/"))
        running = self._runs
        yield made.host_case(
            "container_create", lambda _: running("trial") is True, container_name="trial", image="box:1"
        )
        yield made.host_case(
            "container_inspect",
            lambda output: output is not None and output["image"] == "box:1",
            container_name="trial",
        )
        listed = [{"container_name": "trial", "container_id": f"{1:064x}", "image": "box:1", "state": "running"}]
        rest = {"status": "", "stack_name": ""}
        yield made.host_case("container_list", lambda output: output == {"containers": [listed[0] | rest]})
        self.engine.logs = "one\ntwo\n"
        yield made.host_case(
            "container_logs",
            lambda output: output is not None and output["log"] == "one\ntwo\n",
            container_name="trial",
        )
        yield made.host_case("container_stop", lambda _: running("trial") is False, container_name="trial")
        yield made.host_case("container_start", lambda _: running("trial") is True, container_name="trial")
        before = self._started("trial")
        yield made.host_case("container_restart", lambda _: self._started("trial") != before, container_name="trial")
        former = self._id("trial")
        yield made.host_case(
            "container_update",
            lambda _: self._id("trial") != former,
            container_name="trial",
            image="box:1",
            recreate=True,
        )
        self.engine.pullable.add("new:1")
        yield made.host_case("image_pull", lambda _: "new:1" in self.engine.images, image="new:1")
        yield made.host_case("container_delete", lambda _: running("trial") is None, container_name="trial", force=True)

    @property
    def elsewhere(self) -> Collection[str]:
        """Return the operations tested in tests/lab/test_docker_*.py, on an engine with networks and images."""
        return ("stack_deploy", "stack_update", "stack_remove", "stack_status", *container_operations.SHARED)

    async def run(self, name: str, operation_id: str, **parameters: Any) -> TaskResult:
        return await asyncio.wait_for(self.backend.run(self.task(name, operation_id, **parameters), print), 30.0)

    def _runs(self, name: str) -> bool | None:
        found = self.engine.named(name)
        return None if found is None else bool(found["State"]["Running"])

    def _id(self, name: str) -> str:
        found = self.engine.named(name)
        return "" if found is None else str(found["Id"])

    def _started(self, name: str) -> str:
        found = self.engine.named(name)
        return "" if found is None else str(found["State"]["StartedAt"])
