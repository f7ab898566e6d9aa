"""A host without Python: services and the list of packages, by programs of the host; the rest is refused."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.agent_ssh.conftest import ID, SshHost
from tests.agent_ssh.plain_host import ALWAYS, host_with, linked
from tests.agent_ssh.test_breaks import begun, kill_sessions
from tests.hostops.test_systemctl import SCRIPT, SHOWN

from writ_agent.backends.port import Failing, TaskResult
from writ_agent.work.running import RunningOperation
from writ_contracts.errors import WritError
from writ_testing.eventually import eventually
from writ_testing.stopwatch import stopwatch
from writ_testing.suites.backend import ProgressRecorder

STARTED_ANEW = "sed -i s/InvocationID=aa/InvocationID=bb/ {shown}"
HANGS = "echo Job=7 >>{shown}; cat {never}; exit 1"
LISTS = """case "$1" in
list-units) echo 'nginx.service loaded active running web server'; echo 'gone.service not-found inactive dead x' ;;
list-unit-files) echo 'nginx.service enabled enabled'; echo 'off.service masked disabled' ;;
esac"""
DPKG = r"""#!/bin/sh
printf 'installed\tnginx\t1.0\tamd64\nconfig-files\told\t0.9\tamd64\ninstalled\tzip\t3\tall\n'
"""


class PlainHost:
    """The host, and the calls of its systemctl."""

    def __init__(self, ssh: SshHost, folder: Path, programs: Path) -> None:
        self.ssh, self.folder, self.programs = ssh, folder, programs

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def systemctl(self, body: str = "true", shown: str = SHOWN) -> None:
        """Script systemctl's reply to commands other than show and cancel."""
        (self.folder / "shown").write_text(shown)
        names = {"shown": self.folder / "shown", "never": self.folder / "never"}
        script = SCRIPT.format(calls=self.folder / "calls", shown=names["shown"], body=body.format(**names))
        self._program(
            "systemctl", script.replace("printf 'Job=\\n' >>", f"echo x >{names['never']}; printf 'Job=\\n' >>")
        )

    def dpkg(self) -> None:
        self._program("dpkg-query", DPKG)

    def _program(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)


@pytest.fixture
async def plain(tmp_path: Path) -> AsyncIterator[PlainHost]:
    programs = linked(tmp_path / "bin", [*ALWAYS, "sed"])
    os.mkfifo(tmp_path / "never")
    async with host_with(tmp_path, programs) as host:
        made = PlainHost(host, tmp_path, programs)
        made.systemctl()
        yield made


async def test_the_status_of_a_service_is_read(plain: PlainHost) -> None:
    done = await plain.ssh.run("service_status", service_name="nginx")
    assert (done.outcome, done.effect, done.over) == ("succeeded", "none", True)
    assert (done.output["service_name"], done.output["main_pid"]) == ("nginx.service", 42)
    assert done.output["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert plain.calls()[0].endswith(" -- nginx.service")


async def test_a_restart_succeeds_by_the_state_observed_afterwards(plain: PlainHost) -> None:
    plain.systemctl(STARTED_ANEW)
    task = plain.ssh.task("service_restart", service_name="nginx")
    assert (await plain.ssh.backend.preview(task))["would"] == "restart"
    before = await plain.ssh.backend.baseline(task)
    assert (await plain.ssh.backend.probe(task, before)).verdict == "no_effect"
    done = await plain.ssh.backend.run(task, ProgressRecorder())
    assert (done.outcome, done.effect, done.output["changed"], done.over) == ("succeeded", "done", True, True)
    assert (await plain.ssh.backend.probe(task, before)).verdict == "took_effect"
    assert plain.calls().count("restart --no-ask-password -- nginx.service") == 1


async def test_a_unit_is_changed_by_its_own_name_alone_and_its_others_are_reported(plain: PlainHost) -> None:
    plain.systemctl(STARTED_ANEW)
    shown = plain.folder / "shown"
    shown.write_text(shown.read_text().replace("Names=nginx.service", "Names=nginx.service web.service"))
    task = plain.ssh.task("service_restart", service_name="nginx")
    baseline = await plain.ssh.backend.baseline(task)
    looked = await plain.ssh.backend.baseline(plain.ssh.task("service_status", service_name="nginx"))
    assert baseline["names"] == looked["names"] == ["web"]
    for unit_name, known in (("nginx", {}), ("web", baseline)):
        other = replace(plain.ssh.task("service_restart", service_name=unit_name), baseline=known)
        done = await plain.ssh.backend.run(other, ProgressRecorder())
        assert (done.outcome, done.code, done.effect) == ("failed", "unit_alias", "none")
    assert not [call for call in plain.calls() if call.startswith("restart")]
    assert (await plain.ssh.backend.run(replace(task, baseline=baseline), ProgressRecorder())).outcome == "succeeded"


@pytest.mark.parametrize(
    ("body", "code"), [("exit 1", "job_failed"), ("exit 4", "permission_denied"), ("exit 5", "unit_not_found")]
)
async def test_refusals_of_systemctl_have_different_codes(plain: PlainHost, body: str, code: str) -> None:
    plain.systemctl(body)
    done = await plain.ssh.run("service_restart", service_name="nginx")
    assert (done.outcome, done.code, done.effect) == ("failed", code, "none")


@pytest.mark.parametrize(
    ("shown", "code"),
    [("", "unavailable"), ("Id=x.service\nLoadState=not-found\n", "unit_not_found"), ("hello\n", "garbled")],
)
async def test_unusable_output_of_systemctl_fails_without_effect(plain: PlainHost, shown: str, code: str) -> None:
    plain.systemctl(shown=shown)
    done = await plain.ssh.run("service_start", service_name="nginx")
    assert (done.outcome, done.code, done.effect) == ("failed", code, "none")


async def test_missing_program_has_its_own_code(plain: PlainHost) -> None:
    done = await plain.ssh.run("package_list")
    assert (done.outcome, done.code, done.effect) == ("failed", "tool_missing", "none")


async def test_packages_and_services_are_listed(plain: PlainHost) -> None:
    plain.dpkg()
    done = await plain.ssh.run("package_list", pattern="n*")
    assert [(one["package_name"], one["version"]) for one in done.output["packages"]] == [("nginx", "1.0")]
    assert await plain.ssh.backend.listing(plain.ssh.target, "list_packages") == ["nginx", "zip"]
    plain.systemctl(LISTS)
    assert await plain.ssh.backend.listing(plain.ssh.target, "list_services") == ["nginx.service"]
    assert (await plain.ssh.run("package_list", upgradable=True)).code == "unsupported"


async def test_operation_that_needs_python_is_refused_with_this_reason(plain: PlainHost) -> None:
    with pytest.raises(WritError) as refused:
        await plain.ssh.run("file_read", file_path=f"{plain.ssh.root}/a")
    assert refused.value.code == "no_python"
    assert "service_restart" in str(refused.value)
    with pytest.raises(WritError) as refused:
        await plain.ssh.backend.listing(plain.ssh.target, "list_ports")
    assert refused.value.code == "no_python"


async def test_a_test_of_the_target_shows_what_it_has(plain: PlainHost) -> None:
    plain.systemctl("echo 'systemd 257 (257.7-1)'")
    found = await plain.ssh.backend.test_target(plain.ssh.target)
    assert (found.code, found.versions) == ("", {"systemd": "257"})
    assert found.operations == ["service_restart", "service_start", "service_status", "service_stop"]
    assert found.lacking["file_read"] == "the host has no python3 (3.9 or newer)"
    assert found.lacking["package_list"].startswith("dpkg-query is missing")


async def test_what_cannot_succeed_is_named_with_the_code_and_message_of_a_run(plain: PlainHost) -> None:
    plain.systemctl("echo 'systemd 257 (257.7-1)'")
    fails = (await plain.ssh.backend.test_target(plain.ssh.target)).fails
    assert {"file_read", "package_install", "package_list"} <= fails.keys()
    assert "service_status" not in fails
    with pytest.raises(WritError) as refused:
        await plain.ssh.run("file_read", file_path=f"{plain.ssh.root}/a")
    assert fails["file_read"] == Failing(refused.value.code, str(refused.value), dry_run=True)
    listed = await plain.ssh.run("package_list")
    assert fails["package_list"] == Failing(listed.code, listed.message, dry_run=True)
    plain.dpkg()
    plain.systemctl("true", shown="")
    fails = (await plain.ssh.backend.test_target(plain.ssh.target)).fails
    assert "package_list" not in fails
    status = await plain.ssh.run("service_status", service_name="nginx")
    assert fails["service_status"] == Failing(status.code, status.message, dry_run=True)


async def test_a_host_that_has_systemctl_and_no_systemd_is_not_said_to_have_services(plain: PlainHost) -> None:
    plain.systemctl('case "$1" in --version) echo systemd 257;; is-system-running) echo offline; exit 1;; esac')
    found = await plain.ssh.backend.test_target(plain.ssh.target)
    assert found.lacking["service_restart"] == "systemd does not run this host"
    assert not [name for name in found.operations if name.startswith("service_")]


@pytest.mark.usefixtures("patient")
async def test_a_cancel_takes_the_job_back(plain: PlainHost) -> None:
    plain.systemctl(HANGS)
    run = await under_way(plain)
    await eventually(lambda: contains(plain.folder / "shown", "Job=7"))
    assert await plain.ssh.backend.stop(ID, 1.0)
    done = await asyncio.wait_for(run, 20)
    assert (done.code, done.over) == ("cancelled", True)
    assert "cancel -- 7" in plain.calls()


async def test_a_timeout_has_an_outcome_in_time(plain: PlainHost) -> None:
    plain.systemctl(HANGS)
    task = replace(plain.ssh.task("service_restart", service_name="nginx"), timeout=1.0)
    await plain.ssh.pool.session(plain.ssh.target)
    with stopwatch() as seconds:
        done = await RunningOperation(plain.ssh.backend, task, ProgressRecorder(), 0.5).wait()
    assert seconds() < 1 + 5 + 2
    assert done.outcome in ("failed", "unknown")
    assert done.code in ("timeout", "cancelled")


async def test_when_the_connection_breaks_a_read_decides(plain: PlainHost) -> None:
    plain.systemctl(f"{STARTED_ANEW}; exec cat {{never}}")
    task = plain.ssh.task("service_restart", service_name="nginx")
    task = replace(task, baseline=await plain.ssh.backend.baseline(task))
    run = await begun(plain.ssh, task)
    await eventually(lambda: has_called(plain, "restart"))
    await eventually(lambda: contains(plain.folder / "shown", "InvocationID=bb"))
    kill_sessions(plain.ssh)
    done = await asyncio.wait_for(run, 20)
    assert (done.outcome, done.effect, done.over) == ("succeeded", "done", False)


async def test_a_probe_without_any_observation_is_unknown(plain: PlainHost) -> None:
    plain.systemctl("exec cat {never}")
    run = await under_way(plain)
    kill_sessions(plain.ssh)
    done = await asyncio.wait_for(run, 20)
    assert (done.outcome, done.code, done.effect, done.over) == ("unknown", "connection_lost", "maybe", False)


@pytest.mark.parametrize(("noise", "code"), [("yes", "garbled"), ("exec cat {never}", "unreachable")])
async def test_a_systemctl_that_floods_or_hangs_has_an_outcome(plain: PlainHost, noise: str, code: str) -> None:
    script = plain.programs / "systemctl"
    (plain.programs / "yes").symlink_to("/usr/bin/yes")
    script.write_text(f"#!/bin/sh\n{noise.format(never=plain.folder / 'never')}\n")
    done = await asyncio.wait_for(plain.ssh.run("service_status", service_name="nginx"), 20)
    assert (done.outcome, done.code, done.effect) == ("failed", code, "none")
    assert stat.S_ISFIFO((plain.folder / "never").stat().st_mode)


async def under_way(plain: PlainHost) -> "asyncio.Task[TaskResult]":
    """Begin a restart and leave its job queued in systemd."""
    run = await begun(plain.ssh, plain.ssh.task("service_restart", service_name="nginx"))
    await eventually(lambda: has_called(plain, "restart"))
    return run


async def has_called(plain: PlainHost, verb: str) -> bool:
    return any(call.startswith(verb) for call in plain.calls())


async def contains(path: Path, text: str) -> bool:
    return text in path.read_text()
