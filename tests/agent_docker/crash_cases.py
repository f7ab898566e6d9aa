"""Changes on a fake engine for the tests of crashes: for each the state before it, and the state it is to reach."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace
from tests.agent_docker.engine_host import EngineHost

from writ_agent.backends.port import Task
from writ_containers.containers.container_view import OPERATION_LABEL
from writ_contracts.ids import operation_id
from writ_testing.fakes.docker_engine import FakeEngine
from writ_testing.fakes.engine_storage import tar_of
from writ_testing.peers.restic_repository import create_repository

OPERATION = operation_id("alice", str(os.getpid()))
"""Another one in each worker: what ends the processes of an operation ends them on the whole machine."""
FORMER = "01j" + "b" * 23


class CrashCase(NamedTuple):
    """`reached`: the engine shows the whole effect. `calls`: how many changing requests a run without a fault makes."""

    operation: str
    parameters: dict[str, Any]
    prepare: Callable[[FakeEngine], None]
    reached: Callable[[FakeEngine], bool]
    calls: int
    backup: bool = False


def state_of(engine: FakeEngine) -> dict[str, Any]:
    """Return the state within reach of an operation, without the counters."""
    containers = [
        (one["Name"], one["Config"]["Image"], one["State"]["Running"], one["State"]["Status"] == "paused")
        for one in engine.containers.values()
    ]
    images, files = {name: one["Id"][-2:] for name, one in engine.images.items()}, _digests(engine.files)
    return {"containers": sorted(containers), "images": images, "volumes": sorted(engine.volumes), "files": files}


def _digests(files: dict[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(packed).hexdigest()[:8] for name, packed in files.items()}


def made_by(engine: FakeEngine, operation_id: str = OPERATION) -> list[dict[str, Any]]:
    """Return the containers with the label of the operation."""
    found = engine.containers.values()
    return [one for one in found if one["Config"]["Labels"].get(OPERATION_LABEL) == operation_id]


def _web(*, running: bool) -> Callable[[FakeEngine], None]:
    def prepare(engine: FakeEngine) -> None:
        engine.add_image("box:2")
        engine.pullable.add("new:1")
        mounts = [
            {"Type": "volume", "Source": "data", "Target": "/data"},
            {"Type": "bind", "Source": "/srv/shop", "Target": "/shop"},
        ]
        engine.put("web", running=running, HostConfig={"Mounts": mounts, "RestartPolicy": {"Name": "always"}})
        _fill(engine, "now")

    return prepare


def _nothing(engine: FakeEngine) -> None:
    engine.pullable.add("new:1")


def _is(name: str, image: str, *, running: bool = True) -> Callable[[FakeEngine], bool]:
    """Assert the container's image; a former container may remain beside it."""

    def reached(engine: FakeEngine) -> bool:
        found = [one for one in state_of(engine)["containers"] if ".former-" not in one[0]]
        return found == [(f"/{name}", image, running, False)]

    return reached


def _restored(engine: FakeEngine) -> bool:
    """Return true if it was restored into new volumes, and the former ones are unchanged."""
    mounts = (engine.named("web") or {"Mounts": []})["Mounts"]
    found = {engine.files.get(one.get("Name") or one.get("Source")) for one in mounts}
    kept = engine.files["data"] == tar_of("data", "now") and engine.files["/srv/shop"] == tar_of("shop", "now")
    restored = found == {tar_of("data", "then"), tar_of("shop", "then")}
    return _is("web", engine.images["box:1"]["Id"])(engine) and kept and restored


def _fill(engine: FakeEngine, content: str) -> None:
    engine.files |= {"data": tar_of("data", content), "/srv/shop": tar_of("shop", content)}


CREATE = {"container_name": "web", "image": "box:1"}
WEB = {"container_name": "web"}
CASES = {
    "create": CrashCase("container_create", CREATE, _nothing, _is("web", "box:1"), 2),
    "create_pulled": CrashCase("container_create", {**WEB, "image": "new:1"}, _nothing, _is("web", "new:1"), 3),
    "create_only": CrashCase(
        "container_create", {**CREATE, "start": False}, _nothing, _is("web", "box:1", running=False), 1
    ),
    "start": CrashCase("container_start", WEB, _web(running=False), _is("web", "box:1"), 1),
    "stop": CrashCase("container_stop", WEB, _web(running=True), _is("web", "box:1", running=False), 1),
    "restart": CrashCase("container_restart", WEB, _web(running=True), _is("web", "box:1"), 1),
    "delete": CrashCase(
        "container_delete", {**WEB, "force": True}, _web(running=True), lambda engine: not engine.containers, 1
    ),
    "update": CrashCase("container_update", {**WEB, "image": "box:2"}, _web(running=True), _is("web", "box:2"), 6),
    "update_pulled": CrashCase(
        "container_update", {**WEB, "image": "new:1"}, _web(running=True), _is("web", "new:1"), 7
    ),
    "update_stopped": CrashCase(
        "container_update",
        {**WEB, "image": "box:2"},
        _web(running=False),
        _is("web", "box:2", running=False),
        4,
    ),
    "pull": CrashCase("image_pull", {"image": "new:1"}, _nothing, lambda engine: "new:1" in engine.images, 1),
    "snapshot": CrashCase(
        "snapshot_create",
        {**WEB, "snapshot_name": "before"},
        _web(running=True),
        lambda engine: any(one["Config"].get("Labels") for one in engine.images.values()),
        1,
    ),
    "backup": CrashCase(
        "backup_create", {**WEB, "backup_id": "now"}, _web(running=True), _is("web", "box:1"), 2, backup=True
    ),
    "restore": CrashCase("backup_restore", {**WEB, "backup_id": "then"}, _web(running=True), _restored, 8, backup=True),
}


async def prepared(host: EngineHost, case: CrashCase) -> Task:
    """Bring the engine into the state before the operation. Return the task with its baseline."""
    case.prepare(host.engine)
    if case.backup:
        await _backed_up(host)
    host.engine.requests.clear()
    task = host.task(case.operation, OPERATION, timeout=6.0, **case.parameters)
    return replace(task, baseline=await host.backend.baseline(task)) if task.operation.baseline else task


async def _backed_up(host: EngineHost) -> None:
    """The backup `then`, of other content than the volume has now."""
    engine, folder = host.engine, Path(host.engine.socket).parent
    (folder / "password").write_text("word")
    backup = {"repository": str(folder / "repository"), "password_file": str(folder / "password"), "host": "box"}
    create_repository(folder / "repository", "word")
    host.target = replace(host.target, backup=backup)
    _fill(engine, "then")
    done = await host.run("backup_create", FORMER, container_name="web", backup_id="then", quiesce="none")
    assert done.outcome == "succeeded", done
    _fill(engine, "now")
