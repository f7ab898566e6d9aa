"""The SSH agent's target test names each fault on the way to a real sshd."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.agent_ssh.conftest import SshHost, ssh_host
from tests.agent_ssh.test_troubles import BEHAVIOURS, odd_host

from writ_agent.backends.port import TargetTestResult
from writ_contracts.errors import WritError
from writ_testing.eventually import eventually
from writ_testing.peers.sshd import make_key


async def find(host: SshHost, **connection: Any) -> TargetTestResult:
    target = host.server.target(connection=host.server.connection(**connection), file_roots=[str(host.root)])
    return await host.backend.test_target(target)


def steps(found: TargetTestResult) -> dict[str, bool]:
    return {step.name: step.well for step in found.steps}


def standing(host: SshHost) -> str:
    return dict(host.backend.target_health)["web1"].reason


def connections(host: SshHost) -> list[str]:
    assert host.server.process is not None
    pid = host.server.process.pid
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


async def test_target_test_passes_each_step_on_a_working_host(host: SshHost) -> None:
    found = await find(host)
    assert (found.code, found.message) == ("", "")
    assert steps(found) == {"connection": True, "host_key": True, "credentials": True, "host": True}
    details = {step.name: step.detail for step in found.steps}
    assert details["connection"] == f"127.0.0.1:{host.server.port}"
    assert details["host_key"].startswith("SHA256:")
    assert details["credentials"].startswith("as ")
    assert {"os", "kernel", "python"} <= found.versions.keys()
    assert "file_read" in found.operations
    assert found.lacking["network_scan"] == "no scan_networks are declared for the target"
    assert standing(host) == "ok"


async def test_target_test_closes_its_own_connection_and_keeps_open_ones(host: SshHost) -> None:
    await host.run("network_status")
    before = connections(host)
    for _ in range(3):
        assert not (await find(host)).code

    async def as_before() -> bool:
        return connections(host) == before

    await eventually(as_before)
    assert host.server.log.read_text().count("Accepted publickey") == 4
    await host.run("network_status")
    assert host.server.log.read_text().count("Accepted publickey") == 4


async def test_target_test_reports_a_changed_host_key(host: SshHost) -> None:
    make_key(host.server.folder / "other")
    other = (host.server.folder / "other.pub").read_text().strip()
    found = await find(host, host_keys=[other])
    assert found.code == "host_key_changed"
    assert steps(found) == {"connection": True, "host_key": False}
    assert standing(host) == "host_key_changed"
    assert not (await find(host)).code
    assert standing(host) == "ok"


async def test_target_test_reports_an_unknown_host_key(host: SshHost) -> None:
    host.server.known_hosts.write_text("")
    found = await find(host)
    assert (found.code, steps(found)) == ("host_key_unknown", {"connection": True, "host_key": False})


async def test_target_test_reports_a_key_that_the_host_refuses(host: SshHost) -> None:
    await find(host)
    (host.server.folder / "authorized_keys").write_text("")
    found = await find(host)
    assert found.code == "auth_failed"
    assert steps(found) == {"connection": True, "host_key": True, "credentials": False}


async def test_target_test_reports_a_missing_private_key(host: SshHost) -> None:
    host.server.target()
    (host.server.keys / "web1").unlink()
    found = await find(host)
    assert (found.code, steps(found)) == ("no_credentials", {"credentials": False})


async def test_target_without_a_listener_is_reported(host: SshHost) -> None:
    await host.server.stop()
    found = await find(host)
    assert (found.code, steps(found)) == ("unreachable", {"connection": False})
    assert standing(host) == "unreachable"


async def test_target_test_reports_an_invalid_connection(host: SshHost) -> None:
    found = await find(host, colour="blue")
    assert (found.code, steps(found)) == ("invalid_connection", {"connection": False})
    assert standing(host) == "invalid_connection"


async def test_target_test_reports_a_host_without_python(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
    command = f'ForceCommand PATH={tools} exec {tools}/sh -c "$SSH_ORIGINAL_COMMAND"'
    async with ssh_host(tmp_path / "host", command) as host:
        found = await find(host)
    assert found.code == "no_python"
    assert steps(found) == {"connection": True, "host_key": True, "credentials": True, "host": False}
    assert standing(host) == "no_python"


@pytest.mark.parametrize("behaviour", ["hangs", "endless log", "garbage", "no result", "hangs up"])
async def test_target_test_reports_a_host_that_misbehaves_after_the_login(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behaviour: str
) -> None:
    monkeypatch.setattr("writ_agent_ssh.target_test.SURVEY_SECONDS", 0.5)
    monkeypatch.setattr("writ_agent_ssh.target_test.LATE", 0.5)
    async with odd_host(tmp_path / "odd", BEHAVIOURS[behaviour]) as host:
        found = await find(host)
        assert found.code
        assert steps(found) == {"connection": True, "host_key": True, "credentials": True, "host": False}
        assert standing(host) == found.code

        async def gone() -> bool:
            return connections(host) == []

        await eventually(gone)


async def test_target_test_reports_a_folder_that_others_can_write_to(host: SshHost) -> None:
    host.server.host_folder.mkdir()
    host.server.host_folder.chmod(0o777)
    found = await find(host)
    assert (found.code, steps(found)["host"]) == ("unusable_folder", False)


async def test_operations_update_the_state_of_a_target_too(host: SshHost) -> None:
    assert list(host.backend.target_health) == []
    await host.run("network_status")
    assert standing(host) == "ok"
    await host.pool.close()
    (host.server.folder / "authorized_keys").write_text("")
    with pytest.raises(WritError):
        await host.run("network_status")
    assert standing(host) == "auth_failed"
