"""Services of the previous release beside those of this one, both ways, and a rolling upgrade under load and back.

The previous release is PREVIOUS, whose packages `git archive` gives. With a release, name its tag there.
"""

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest
from tests.architecture.tree import ROOT
from tests.e2e.stolen_keys import holding

from writ_client.client import Writ
from writ_client.operations import request_signing
from writ_contracts import subjects
from writ_contracts.history.audit import SearchQuery
from writ_contracts.large_texts import LARGE
from writ_contracts.requests import RequestReply
from writ_contracts.wire import decode, encode
from writ_testing.eventually import eventually
from writ_testing.installations.count_load import load
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    prepare,
    running_installation,
)

PREVIOUS = "2effcd47"
"""There is no release yet: a state that reads the messages which the first one writes (ADR 149)."""
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


async def read_and_write(writ: Writ, running: RunningInstallation, files: Path) -> None:
    """Read, write a large text that nobody signed, read it again, write a signed one, which the client sends as
    MessagePack, and search by a hidden value.
    """
    reads = await asyncio.gather(*(writ.run("test_noop", name, timeout=60) for name in TARGETS * 3))
    assert {read.outcome for read in reads} == {"succeeded"}
    file, text = files / "large", "x" * LARGE
    parameters = {"file_path": str(file), "content": text}
    request = request_signing.unsigned(TARGETS[0], parameters, idempotency_key=secrets.token_hex(8))
    async with holding(running, "principal-operator") as bus:
        reply = await bus.request(subjects.request("operator", "file_write"), encode(request), timeout=60)
        assert (answer := decode(reply.data, RequestReply)).error is None, answer.error

    async def written() -> bool:
        return file.exists() and file.read_text() == text

    await eventually(written, what="the file")
    done = await writ.run("file_read", TARGETS[0], {"file_path": str(file)}, timeout=60)
    assert (await writ.result(done.operation_id) or {})["content"] == text
    signed = await writ.run("file_write", TARGETS[0], {**parameters, "content": "a line\n" * LARGE}, timeout=60)
    assert (signed.outcome, file.read_text()) == ("succeeded", "a line\n" * LARGE)
    found = await writ.search(SearchQuery(principal="operator", parameters={"file_path": str(file)}))
    assert found.hidden is None or not found.hidden.problem
    assert done.operation_id in {row.operation_id for row in found.rows}


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
        await read_and_write(writ, running, files)
        async with holding(running, "audit") as bus:
            assert await bus.journal.read(subjects.SECURITY) == []
        status = await running.writ("status", environ={"COLUMNS": "250"})
        assert status.status == 0 or OTHER_BUILD in status.out or OTHER_LEVEL in status.out, status
    assert mixture.used == ({service} if previous else ALL - {service})


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
