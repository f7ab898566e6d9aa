"""Services of the previous release beside those of this one, both ways, and a rolling upgrade under load and back.

The previous release is PREVIOUS, whose packages `git archive` gives. With a release, name its tag there.
"""

import asyncio
import itertools
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path

import pytest
from tests.architecture.tree import ROOT
from tests.e2e.stolen_keys import holding

from writ_client.client import Writ
from writ_client.operations import request_signing
from writ_contracts import subjects
from writ_contracts.decisions import Decision
from writ_contracts.history.audit import SearchQuery
from writ_contracts.journal import Requested
from writ_contracts.large_texts import LARGE
from writ_contracts.requests import OperationView, RequestReply
from writ_contracts.wire import decode, decode_event, encode
from writ_testing.eventually import eventually
from writ_testing.installations.count_load import load
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    prepare,
    running_installation,
)
from writ_trust.statements import read

PREVIOUS = "34b67eea"
"""The first commit after packages, accounts, grants and levels of messages had changed."""
OTHER_BUILD = "build of a plugin than this executor"
"""Each release has its own build of the tests' plugin. Policy accepts both during an upgrade; status names them."""
OTHER_LEVEL = "of another level than this executor"
MODULES = {
    "policy": ("writ_policy",),
    "executor": ("writ_executor",),
    "audit": ("writ_audit",),
    "agent": ("writ_agent_local", "writ_hostops"),
}
ALL = frozenset(MODULES)
ENVIRON = {"WRIT_HEARTBEAT": "0.5", "WRIT_LEASE": "3", "WRIT_RATE": "10000", "WRIT_BURST": "10000"}
TARGETS = [f"web-{number}" for number in range(4)]
pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The previous release's packages."""
    known = subprocess.run(["git", "cat-file", "-e", f"{PREVIOUS}^{{commit}}"], cwd=ROOT, check=False)
    if known.returncode != 0:
        pytest.skip(f"NOT TESTED beside the previous release: {PREVIOUS} is not in this clone (git fetch --unshallow)")
    folder = tmp_path_factory.mktemp("previous")
    packed = subprocess.check_output(["git", "archive", PREVIOUS, "libs", "services"], cwd=ROOT)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed, check=True)
    return folder


class Mixture:
    """The processes of the previous release: a module imported at Python's start puts its packages first."""

    def __init__(self, tree: Path, folder: Path) -> None:
        self._paths = [str(path) for top in ("libs", "services") for path in sorted((tree / top).iterdir())]
        self._file = folder / "site" / "sitecustomize.py"
        self._file.parent.mkdir()
        self._used = self._file.with_name("used")
        digests = [*plugin_digests(), *plugin_digests(self._paths)]
        self.environ = {
            **ENVIRON,
            "PYTHONPATH": os.pathsep.join([str(self._file.parent), os.environ["PYTHONPATH"]]),
            "WRIT_PLUGIN_DIGESTS": ",".join(digests),
        }

    @property
    def used(self) -> set[str]:
        """The services of which a process has run the previous release."""
        modules = self._used.read_text().split()
        return {name for name in ALL if MODULES[name][0] in modules}

    def previous(self, names: Collection[str]) -> None:
        """Have processes of these services run the previous release from their next start on."""
        modules = {module for name in names for module in MODULES[name]}
        self._file.write_text(
            f"import os, sys\nfound = {modules!r} & set(sys.orig_argv)\nif found:\n    sys.path[:0] = {self._paths!r}\n"
            f"    open({str(self._used)!r}, 'a').write(' '.join(found) + '\\n')\n"
            f"    os.environ['PYTHONPATH'] = os.pathsep.join({self._paths!r} + [os.environ['PYTHONPATH']])\n"
        )


def plugin_digests(paths: Collection[str] = ()) -> list[str]:
    """Return the builds of plugins, as `writ plugin list` of the release in these paths shows them."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, os.environ["PYTHONPATH"]])}
    listed = subprocess.check_output([sys.executable, "-m", "writ_cli", "plugin", "list", "-o", "json"], env=environ)
    return [f"{one['name']}={one['digest']}" for one in json.loads(listed)]


@pytest.mark.parametrize("service", sorted(ALL))
@pytest.mark.parametrize("previous", [True, False], ids=["previous", "new"])
async def test_service_works_with_the_others_of_another_release(
    tmp_path: Path, tree: Path, service: str, previous: bool
) -> None:
    files, mixture = tmp_path / "files", Mixture(tree, tmp_path)
    mixture.previous({service} if previous else ALL - {service})
    home = prepare(tmp_path, targets=[local_target(name, files) for name in TARGETS])
    async with (
        running_installation(tmp_path, home=home, environ=mixture.environ) as running,
        await running.client() as writ,
    ):
        async with load(writ, TARGETS, files / "counted") as ran:
            await ran.more(20)
        await ran.check(writ)
        reads = await asyncio.gather(*(writ.run("test_noop", name, timeout=60) for name in TARGETS * 3))
        assert {read.outcome for read in reads} == {"succeeded"}
        async with holding(running, "audit") as bus:
            assert await bus.journal.read(subjects.SECURITY) == []
        status = await running.writ("status", environ={"COLUMNS": "250"})
        assert status.status == 0 or OTHER_BUILD in status.out or OTHER_LEVEL in status.out, status
    assert mixture.used == ({service} if previous else ALL - {service})


@pytest.mark.parametrize("service", sorted(ALL))
async def test_search_by_hidden_values_beside_a_service_of_the_previous_release(
    tmp_path: Path, tree: Path, service: str
) -> None:
    """Executors record search digests, audit indexes them. Without one of them a search works and finds less."""
    mixture, file = Mixture(tree, tmp_path), tmp_path / "files" / "sought.conf"
    mixture.previous({service})
    home = prepare(tmp_path, targets=[local_target(name, file.parent) for name in TARGETS[:1]])
    file.write_text("text")
    environ = {**mixture.environ, "SYSTEMMANAGER_AUDIT_LEVEL": "minimal"}
    async with (
        running_installation(tmp_path, home=home, environ=environ) as running,
        await running.client() as writ,
    ):
        done = await writ.run("file_read", TARGETS[0], {"file_path": str(file)}, timeout=60)
        assert done.outcome == "succeeded"
        answer = await writ.search(SearchQuery(principal=writ.principal, parameters={"file_path": str(file)}))
        found = [row.operation_id for row in answer.rows]
        assert found == ([] if service in ("audit", "executor") else [done.operation_id])
        assert (answer.hidden is None) == (service == "audit")
        assert bool(answer.hidden and answer.hidden.problem) == (service == "executor")
        assert len((await writ.search(SearchQuery(principal=writ.principal, operation="file_read"))).rows) == 1
        async with holding(running, "audit") as bus:
            assert await bus.journal.read(subjects.SECURITY) == []
    assert mixture.used == {service}


async def test_an_executor_of_the_previous_release_keeps_the_new_one_from_dispatching_with_the_request(
    tmp_path: Path, tree: Path
) -> None:
    """Agents are upgraded before it, against the documented order."""
    mixture = Mixture(tree, tmp_path)
    mixture.previous({"executor"})
    home = prepare(tmp_path, targets=[local_target(name, tmp_path / "files") for name in TARGETS])
    async with (
        running_installation(tmp_path, home=home, executors=2, environ=mixture.environ) as running,
        await running.client() as writ,
    ):
        names = [process.name for process in running.report.processes if process.name.startswith("executor")]
        mixture.previous(())
        ended = await running.writ("restart", names[0])
        assert ended.status == 0, ended
        until = time.monotonic() + 12.0  # longer than the new executor takes to hear of agents, audit and executors
        while time.monotonic() < until:
            reads = await asyncio.gather(*(writ.run("test_noop", name, timeout=60) for name in TARGETS))
            assert {read.outcome for read in reads} == {"succeeded"}
            for read in reads:
                assert await kinds_of(writ, read) == ["requested", "dispatched", "granted", "finished"]
        ended = await running.writ("restart", names[1])
        assert ended.status == 0, ended

        async def at_once() -> bool:
            done = await writ.run("test_noop", TARGETS[0], timeout=60)
            return await kinds_of(writ, done) == ["requested", "granted", "finished"]

        await eventually(at_once, what="that a read is dispatched with its request")
        async with holding(running, "audit") as bus:
            assert await bus.journal.read(subjects.SECURITY) == []
    assert mixture.used == {"executor"}


async def write_unsigned(running: RunningInstallation, file: Path, text: str) -> None:
    """Write the file by a request that nobody signed, and wait for its end."""
    parameters = {"file_path": str(file), "content": text}
    request = request_signing.unsigned(TARGETS[0], parameters, idempotency_key=secrets.token_hex(8))
    async with holding(running, "principal-operator") as bus:
        reply = await bus.request(subjects.request("operator", "file_write"), encode(request), timeout=60)
        answer = decode(reply.data, RequestReply)
        assert answer.error is None, answer.error

        async def written() -> bool:
            return file.exists() and file.read_text() == text

        await eventually(written, what="the file")


async def decided_without_text(running: RunningInstallation) -> list[bool]:
    """Return of each first decision on a write whether policy made it without the text."""
    async with holding(running, "audit") as bus:
        records = await bus.journal.read(subjects.JOURNAL)
        events = [event for record in records if isinstance(event := decode_event(record.data), Requested)]
    return [bool(read(one.decision, Decision).left_out) for one in events if one.operation == "file_write"]


@pytest.mark.parametrize("service", [*sorted(ALL), ""])
async def test_large_write_beside_a_service_of_the_previous_release(tmp_path: Path, tree: Path, service: str) -> None:
    """Policy gets the text, until all that take part read decisions by its digest. Audit takes no part."""
    files, mixture = tmp_path / "files", Mixture(tree, tmp_path)
    mixture.previous({service} - {""})
    home = prepare(tmp_path, targets=[local_target(name, files) for name in TARGETS[:1]])
    async with running_installation(tmp_path, home=home, environ=mixture.environ) as running:
        made = itertools.count()

        async def again() -> bool:
            await write_unsigned(running, files / "large", f"{next(made)}" + "x" * LARGE)
            return (await decided_without_text(running))[-1]

        if service in ("", "audit"):
            await eventually(again, what="a decision without the text")
        else:
            assert [await again() for _ in range(8)] == [False] * 8
            mixture.previous(())
            [name] = [one.name for one in running.report.processes if one.name.startswith(service)]
            assert (await running.writ("restart", name)).status == 0
            if service != "policy":  # its former level counts for ten minutes
                await eventually(again, what="a decision without the text")
        async with holding(running, "audit") as bus:
            assert await bus.journal.read(subjects.SECURITY) == []


async def kinds_of(writ: Writ, done: OperationView) -> list[str]:
    """Return the kinds of the operation's events."""
    return [event.kind for event in (await writ.trace(operation_id=done.operation_id)).events]


@pytest.mark.parametrize("up", [True, False], ids=["upgrade", "downgrade"])
async def test_rolling_change_of_the_release_under_load_loses_and_doubles_nothing(
    tmp_path: Path, tree: Path, up: bool
) -> None:
    files, mixture = tmp_path / "files", Mixture(tree, tmp_path)
    order = ["executor", "policy", "audit", "agent"] if up else ["agent", "audit", "policy", "executor"]
    mixture.previous(ALL if up else ())
    home = prepare(tmp_path, targets=[local_target(name, files) for name in TARGETS])
    async with (
        running_installation(tmp_path, home=home, environ=mixture.environ) as running,
        await running.client() as writ,
    ):
        async with load(writ, TARGETS, files / "counted") as ran:
            for number in range(len(order)):
                mixture.previous(order[number + 1 :] if up else order[: number + 1])
                [name] = [one.name for one in running.report.processes if one.name.startswith(order[number])]
                ended = await running.writ("restart", name)
                assert ended.status == 0, ended
                await ran.more(8)
        await ran.check(writ)
    assert mixture.used == ALL
