"""Test cases of operations on a host, each with a read of the host itself, since a backend's report is not enough."""

import asyncio
import hashlib
import os
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from writ_agent.backends.port import Backend, Baselines, Previews, Probes, Task, TaskResult
from writ_contracts.ids import encode_id
from writ_contracts.inventory import Target
from writ_contracts.operations import Catalogue
from writ_contracts.parameters import Output
from writ_testing.peers.programs import program
from writ_testing.peers.restic_repository import create_repository

PATIENCE = 100.0
ON_A_REAL_HOST = frozenset(
    f"{kind}_{verb}"
    for kind, verbs in {"service": "status start stop restart", "snapshot": "create list restore delete"}.items()
    for verb in verbs.split()
)
"""Operations that need systemd or a file system of their own; the lab shows these."""


@dataclass(frozen=True)
class HostCase:
    """One operation. `shows` returns whether the host has the effect of the operation's answer `TaskResult`; before it,
    with None, a change must not show yet.
    """

    task: Task
    shows: Callable[[TaskResult | None], Awaitable[bool]]


async def show(backend: Backend, host_case: HostCase) -> None:
    """Preview it, run it, probe it, and read the host in between. Raises AssertionError for a mismatch."""
    task, name = host_case.task, host_case.task.operation.name
    change = not task.operation.read_only
    if change:
        assert not await host_case.shows(None), f"{name} shows before it was asked for"
    if change and task.operation.preview and isinstance(backend, Previews):
        assert await backend.preview(task), name
        assert not await host_case.shows(None), f"the preview of {name} had the effect"
    looks = task.operation.baseline and isinstance(backend, Baselines)
    before = await backend.baseline(task) if looks and isinstance(backend, Baselines) else {}
    done = await asyncio.wait_for(backend.run(replace(task, baseline=before), _nobody), PATIENCE)
    assert (done.outcome, done.over) == ("succeeded", True), (name, done.code, done.message)
    assert done.effect == ("done" if change else "none"), name
    assert isinstance(msgspec.convert(done.output, task.operation.output), Output)
    assert await host_case.shows(done), f"{name} succeeded, and the host does not show it"
    if change and task.operation.probe and isinstance(backend, Probes):
        assert (await backend.probe(task, before)).verdict == "took_effect", name


class HostCases:
    """Makes cases for this very machine, by any backend."""

    def __init__(self, catalogue: Catalogue, target: Target, root: Path) -> None:
        self._catalogue = catalogue
        self._target = target
        self._root = root
        self._number = (os.getpid() << 32) + 1000  # what runs is known by its id all over the machine

    def task(self, name: str, **parameters: Any) -> Task:
        """Return a task with an id of its own."""
        self._number += 1
        operation = self._catalogue[name]
        return Task(
            operation_id=encode_id(self._number.to_bytes(16, "big")),
            attempt=1,
            operation=operation,
            target=self._target,
            parameters=operation.check(parameters),
            timeout=PATIENCE,
        )

    def host_case(self, name: str, check: Callable[[dict[str, Any] | None], bool], **parameters: Any) -> HostCase:
        """Return a case. `check` gets the output, or None."""

        async def shows(done: TaskResult | None) -> bool:
            return await asyncio.to_thread(check, None if done is None else done.output)

        return HostCase(self.task(name, **parameters), shows)

    def files(self) -> Iterator[HostCase]:
        """Yield cases that write, read, copy and delete, in this order."""
        one, two = self._root / "trial-one", self._root / "trial-two"
        digest = hashlib.sha256(b"new\n").hexdigest()
        yield self.host_case("file_write", lambda _: _text(one) == "new\n", file_path=str(one), content="new\n")
        yield self.host_case(
            "file_read", lambda data: data is not None and data["digest"] == digest, file_path=str(one)
        )
        yield self.host_case("file_copy", lambda _: _text(two) == "new\n", source_path=str(one), dest_path=str(two))
        yield self.host_case("file_delete", lambda _: not two.exists(), file_path=str(two))

    def network(self, port: int) -> Iterator[HostCase]:
        """Yield network cases. `port` listens on loopback, which the target declares for scans."""
        yield self.host_case("network_status", lambda data: data is not None and port in _ports(data))
        parameters = {"host": "127.0.0.1", "protocol": "tcp", "port": port, "count": 1}
        yield self.host_case("network_test", lambda data: data is not None and data["reachable"], **parameters)
        found = {"127.0.0.1": [port]}
        yield self.host_case(
            "network_scan",
            lambda data: data is not None and data["open_ports"] == found,
            cidr="127.0.0.1/32",
            ports=[port],
        )

    def backups(self) -> Iterator[HostCase]:
        """Yield cases in the target's restic repository, made by `repository`."""
        folder, backup = self._root / "trial-data", self._target.backup
        folder.mkdir()
        (folder / "a").write_text("before")
        path = {"backup_id": "trial", "target_path": str(folder)}
        yield self.host_case("backup_create", lambda _: _snapshots(backup).count('"short_id"') == 1, **path)
        yield self.host_case("backup_list", lambda data: data is not None and len(data["backups"]) == 1)
        (folder / "a").write_text("after")
        yield self.host_case("backup_restore", lambda _: _text(folder / "a") == "before", **path)
        yield self.host_case("backup_delete", lambda _: _snapshots(backup) == "[]", backup_id="trial")


@contextmanager
def listener() -> Iterator[int]:
    """Yield a listening port on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def repository(folder: Path) -> dict[str, Any]:
    """Make a new restic repository in the folder, as a target's `backup` declares one."""
    folder.mkdir()
    (folder / "password").write_text("correct horse")
    create_repository(folder / "repo", "correct horse")
    return {"repository": str(folder / "repo"), "password_file": str(folder / "password")}


def _snapshots(backup: dict[str, Any]) -> str:
    return _restic(backup, "snapshots", "--json").strip()


def _restic(backup: dict[str, Any], *words: str) -> str:
    environment = {
        **os.environ,
        "RESTIC_REPOSITORY": backup["repository"],
        "RESTIC_PASSWORD_FILE": backup["password_file"],
    }
    command = [program("restic"), "--no-cache", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout


def _ports(output: dict[str, Any]) -> set[int]:
    return {one["port"] for one in output["listening"]}


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _nobody(message: str) -> None: ...
