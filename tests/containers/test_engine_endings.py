"""What an engine replies at the end of an operation, and what the outcome says of it."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.containers.test_hostile_engine import ID, engine_at, reply

from writ_agent.backends.port import Task, TaskResult
from writ_containers import container_operations
from writ_containers.containers import created_container
from writ_containers.engine.api import Engine
from writ_contracts.catalogue import BUILT_IN
from writ_contracts.errors import TimedOut
from writ_contracts.ids import encode_id
from writ_contracts.inventory import Target
from writ_contracts.operations import Catalogue
from writ_testing.eventually import eventually
from writ_testing.suites.backend import task

CATALOGUE = Catalogue(BUILT_IN)
FULL = "failed to start shim: mkdir /data: no space left on device"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def task_of(path: Path, name: str, **parameters: Any) -> Task:
    target = Target(id="box", role="testing", backend="docker", connection={"socket": str(path)})
    return task(CATALOGUE[name], target, encode_id(bytes(16)), **parameters)


def container(state: str, ident: str = ID) -> bytes:
    """Return an inspection; the container was started once."""
    facts = {"Status": state, "Running": state == "running", "StartedAt": "2026-01-01T00:00:00Z", "ExitCode": 137}
    return reply(json.dumps({"Id": ident, "Name": "/web", "State": facts, "Config": {}, "HostConfig": {}}).encode())


def chunk(line: str) -> bytes:
    body = json.dumps({"status": line}).encode() + b"\r\n"
    return f"{len(body):x}\r\n".encode() + body + b"\r\n"


class FullDisk:
    """An engine that stops a container, and cannot start it."""

    state = "running"

    async def serve(self, line: str, writer: asyncio.StreamWriter) -> None:
        if "/restart" in line:
            self.state = "exited"
            writer.write(reply(json.dumps({"message": FULL}).encode(), 500))
            return
        writer.write(container(self.state))


async def test_restart_that_only_stopped_its_container_has_failed_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "e.sock"
    async with engine_at(path, FullDisk().serve) as engine:
        done = await container_operations.run(engine, task_of(path, "container_restart", container_name="web"), print)
    assert (done.outcome, done.code, done.effect) == ("failed", "engine_failed", "done")
    assert FULL in done.message
    assert "it was stopped, and does not run now" in done.message


class Replaced(FullDisk):
    """An engine that has lost the container; another one has its name."""

    async def serve(self, line: str, writer: asyncio.StreamWriter) -> None:
        if "/restart" in line or self.state == "running":
            await super().serve(line, writer)
            return
        writer.write(container(self.state, "f" * 64))


async def test_another_container_of_the_name_is_not_taken_for_the_stopped_one(tmp_path: Path) -> None:
    path = tmp_path / "e.sock"
    async with engine_at(path, Replaced().serve) as engine:
        done = await container_operations.run(engine, task_of(path, "container_restart", container_name="web"), print)
    assert (done.outcome, done.effect) == ("unknown", "maybe")
    assert "another container has the name now" in done.message


class ShutsDown(FullDisk):
    """An engine that replies with an error while it shuts down, and is away for three requests."""

    left = 3

    async def serve(self, line: str, writer: asyncio.StreamWriter) -> None:
        if self.state == "exited" and self.left:
            self.left -= 1
            writer.transport.abort()
            return
        await super().serve(line, writer)


async def test_change_is_judged_once_an_engine_that_replied_and_went_away_is_back(tmp_path: Path) -> None:
    path = tmp_path / "e.sock"
    async with engine_at(path, ShutsDown().serve) as engine:
        done = await container_operations.run(engine, task_of(path, "container_restart", container_name="web"), print)
    assert (done.outcome, done.code, done.effect) == ("failed", "engine_failed", "done")
    assert "it was stopped, and does not run now" in done.message


async def test_change_of_an_engine_that_replied_and_stays_away_is_unknown(tmp_path: Path) -> None:
    path, engine_there = tmp_path / "e.sock", ShutsDown()
    engine_there.left = 1_000_000
    about = replace(task_of(path, "container_restart", container_name="web"), timeout=2.0)
    async with engine_at(path, engine_there.serve) as engine:
        done = await container_operations.run(engine, about, print)
    assert (done.outcome, done.code, done.effect) == ("unknown", "engine_failed", "maybe")


class CannotStart:
    """An engine that cannot start a container, and is away for three requests then."""

    left, there = 3, False

    async def serve(self, line: str, writer: asyncio.StreamWriter) -> None:
        method, path = line.split()[:2]
        if "/start" in path:
            self.there = True
            writer.write(reply(json.dumps({"message": FULL}).encode(), 500))
        elif self.there and self.left:
            self.left -= 1
            writer.transport.abort()
        elif "/containers/json" in path:
            writer.write(reply(json.dumps([{"Id": ID}] if self.there else []).encode()))
        elif method == "DELETE":
            self.there = False
            writer.write(reply(b"", 204))
        elif "/create" in path:
            writer.write(reply(json.dumps({"Id": ID}).encode(), 201))
        else:
            writer.write(reply(json.dumps({"Id": "sha256:1", "RepoTags": []}).encode()))


async def test_container_that_cannot_be_started_is_removed_once_the_engine_is_back(tmp_path: Path) -> None:
    path = tmp_path / "e.sock"
    about = task_of(path, "container_create", container_name="web", image="box:1")
    async with engine_at(path, CannotStart().serve) as engine:
        done = await container_operations.run(engine, about, print)
    assert (done.outcome, done.code, done.effect) == ("failed", "engine_failed", "none")
    assert done.message.endswith("no space left on device; the container was removed again")


class KeepsContainer(CannotStart):
    """An engine that can neither start nor remove a container."""

    left = 0

    async def serve(self, line: str, writer: asyncio.StreamWriter) -> None:
        if line.startswith("DELETE"):
            writer.write(reply(b'{"message": "device or resource busy"}', 500))
            return
        await super().serve(line, writer)


async def test_removal_that_an_engine_refuses_does_not_last_until_the_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(created_container, "CERTAIN_AFTER", 0.3)
    path = tmp_path / "e.sock"
    about = replace(task_of(path, "container_create", container_name="web", image="box:1"), timeout=600.0)
    async with asyncio.timeout(30), engine_at(path, KeepsContainer().serve) as engine:
        done = await container_operations.run(engine, about, print)
    assert (done.outcome, done.code, done.effect) == ("unknown", "engine_failed", "maybe")
    assert "look for what was created" in done.message


class WaitsForRegistry:
    """An engine that reports a step of a pull, and nothing more until `over`."""

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def serve(self, line: str, writer: asyncio.StreamWriter) -> None:
        if "/images/create" in line:
            writer.write(CHUNKED + chunk("Retrying in 9 seconds"))
            await writer.drain()
            await self.over.wait()
            return
        is_list = "/containers/json" in line
        writer.write(reply(b"[]") if is_list else reply(b'{"message": "no such image"}', 404))


async def ended(path: Path, about: Task) -> TaskResult:
    """Cancel the operation once the engine has reported a step of the pull."""
    reports, waits = list[str](), WaitsForRegistry()

    async def reported() -> bool:
        return any(one.endswith("Retrying in 9 seconds") for one in reports)

    async with engine_at(path, waits.serve) as engine:
        running = asyncio.create_task(container_operations.run(engine, about, reports.append))
        await eventually(reported)
        running.cancel()
        done = await running
        waits.over.set()
        return done


@pytest.mark.parametrize("operation", ["image_pull", "container_create"])
async def test_pull_that_is_ended_says_what_it_waited_for(tmp_path: Path, operation: str) -> None:
    path, given = tmp_path / "e.sock", {"image": "box:1"}
    if operation == "container_create":
        given["container_name"] = "web"
    done = await ended(path, task_of(path, operation, **given))
    assert "its last step was: pulls box:1: Retrying in 9 seconds" in done.message


async def cut(line: str, writer: asyncio.StreamWriter) -> None:
    writer.write(CHUNKED + b'9\r\n{"status"')


CUT: dict[str, Callable[[Engine], Awaitable[object]]] = {
    "pull": lambda engine: engine.pull("box:1", lambda _: None),
    "get": lambda engine: engine.get_json("/services", {}),
}


@pytest.mark.parametrize("call", CUT)
async def test_reply_that_is_cut_is_told_in_plain_words(tmp_path: Path, call: str) -> None:
    async with engine_at(tmp_path / "e.sock", cut) as engine:
        with pytest.raises(TimedOut, match=r"ended before the end of its reply$") as refused:
            await CUT[call](engine)
    assert refused.value.code == "connection_lost"
