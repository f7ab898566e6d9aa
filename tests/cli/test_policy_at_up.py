"""`writ up` says whose policy decides, where that is not the file that it was given, and what limits every request."""

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from writ_cli.installation.processes.policy_state import failing_checks, notes, problems
from writ_installation.files.home import Home
from writ_installation.processes.readiness import Readiness
from writ_testing.eventually import eventually
from writ_testing.installations.commands import WritResult, run_command
from writ_testing.installations.detached import down_if_killed
from writ_testing.installations.installation import open_policy, prepare, running_installation

PUBLISHERS = {
    "name": "publishers",
    "operations": ["policy_publish", "policy_rollback", "stop_lift", "journal_archive", "audit_read"],
    "allowed": True,
}
PLACE = "3:3: unknown key 'nmae'; did you mean 'name'?"
DRY_RUNS = "writ up: every operation is a dry run (SYSTEMMANAGER_ENABLE_DRY_RUN)\n"


class Starts:
    """Starts of one installation, and what they print."""

    def __init__(self, home: Home, folder: Path) -> None:
        self._home, self._folder = home, folder

    @asynccontextmanager
    async def detached(self, environ: Mapping[str, str], *words: str) -> AsyncIterator[WritResult]:
        known = {**os.environ, "WRIT_HOME": str(self._home.root), **environ}
        with down_if_killed(self._home.root):
            up = await run_command(("up", "--detach", "--nats-port", "0", *words), known, folder=self._folder)
            try:
                assert up.status == 0, up
                yield up
            finally:
                assert (await run_command(("down",), known, folder=self._folder)).status == 0

    async def foreground(self, environ: Mapping[str, str], last: str) -> str:
        """Return what it prints until `last`."""
        log = self._home.log / "up.log"
        before = len(log.read_text()) if log.exists() else 0
        async with running_installation(self._folder, home=self._home, environ=environ) as running:

            async def said() -> bool:
                return last in running.output.read_text()[before:]

            await eventually(said, within=30.0, what=last)
            return running.output.read_text()[before:]


@pytest.fixture
async def published(tmp_path: Path) -> Starts:
    """Make an installation in which the operator has published version 2."""
    home = prepare(tmp_path, policy=open_policy(PUBLISHERS))
    async with running_installation(tmp_path, home=home) as running, await running.client() as writ:
        done = await writ.policy_publish(f"{open_policy(PUBLISHERS)}# published\n", reason="a test")
        assert done.output["version"] == 2
    return Starts(home, tmp_path)


@pytest.mark.timeout(180)
async def test_policy_file_with_a_mistake_is_told_with_the_version_in_force(published: Starts, tmp_path: Path) -> None:
    file = tmp_path / "new.yaml"
    file.write_text("policies:\n  name: new\n  nmae: new\n")
    environ = {"SYSTEMMANAGER_POLICY_CONFIG": str(file), "SYSTEMMANAGER_ENABLE_DRY_RUN": "true"}
    refused = f"writ up: policy: version 2, by operator, is in force:\n  {file}:{PLACE}\n"
    async with published.detached(environ) as up:
        assert up.out.startswith("Writ is up, but degraded on ")
        assert up.err.endswith(refused + DRY_RUNS)
        status = await run_command(("status",), {**os.environ, "WRIT_HOME": str(tmp_path / "home")}, folder=tmp_path)
        assert status.status == 1
        assert refused.removeprefix("writ up: ") in status.out
    async with published.detached(environ, "-o", "json") as up:
        [reason] = json.loads(up.out)["degraded"]
        assert reason.endswith(PLACE)
    text = await published.foreground(environ, last=DRY_RUNS)
    assert "Writ is up, but degraded on " in text
    assert refused in text
    assert "Writ is ready" not in text


@pytest.mark.timeout(180)
async def test_policy_file_that_differs_from_the_published_version_is_told(published: Starts, tmp_path: Path) -> None:
    file = tmp_path / "home" / "policy.yaml"
    note = f"the policy file {file} differs from version 2, which operator published, and is not used; to use it: "
    note += "`writ policy publish FILE --reason …`"
    async with published.detached({}) as up:
        assert up.out.startswith("Writ is ready on ")
        assert up.err == f"writ up: {note}\n"
    assert "Writ is ready on " in await published.foreground({}, last=f"writ up: {note}\n")


@pytest.mark.timeout(180)
async def test_publish_updates_the_policy_file_that_up_was_given(tmp_path: Path) -> None:
    """The shell that publishes need not have the variable."""
    home, given = prepare(tmp_path, policy=open_policy(PUBLISHERS)), tmp_path / "given.yaml"
    given.write_text(home.policy.read_text())
    new = tmp_path / "new.yaml"
    new.write_text(f"{given.read_text()}# published\n")
    before = home.policy.read_text()
    async with Starts(home, tmp_path).detached({"SYSTEMMANAGER_POLICY_CONFIG": "given.yaml"}):
        known = {**os.environ, "WRIT_HOME": str(home.root)}
        words = ("policy", "publish", str(new), "--reason", "a test")
        done = await run_command(words, known, folder=tmp_path)
    assert (done.status, f"{given} has it now, too" in done.out) == (0, True), done
    assert (given.read_text(), home.policy.read_text()) == (new.read_text(), before)


@pytest.mark.timeout(180)
async def test_tls_that_is_off_beyond_loopback_is_a_note_of_up_and_status(tmp_path: Path) -> None:
    home = prepare(tmp_path, policy=open_policy())
    note = f"NATS listens on 0.0.0.0 without TLS ({home.tls_file}, mode: off): only for a network that is encrypted"
    async with Starts(home, tmp_path).detached({}, "--listen", "0.0.0.0", "--tls", "off") as up:
        status = await run_command(("status",), {**os.environ, "WRIT_HOME": str(home.root)}, folder=tmp_path)
    assert (up.err, status.status) == (f"writ up: {note}\n", 0), status
    assert note in status.out.splitlines()


def test_replicas_of_policy_say_each_thing_once_and_others_are_left_out() -> None:
    policy = Readiness("ready", {"policy": "refused", "bus": "ok"}, {"control": "stopped", "clock": "1 ms ahead"})
    executor = Readiness("ready", {"pools": "no agent of pool local"}, {"operations": "late"})
    processes = {"policy": policy, "policy-2": policy, "executor": executor}
    assert problems(processes) == failing_checks(processes) == ["policy: refused"]
    assert notes(processes) == ["stopped"]
