"""Without Docker's command line or its Compose plugin, a stack is refused in the words of the target test."""

from pathlib import Path

import pytest
from tests.containers.test_host_engines import EngineOnHost, host

from writ_agent.backends.port import Failing
from writ_containers.engine.endpoint import SocketEndpoint
from writ_containers.stacks import compose_command
from writ_contracts.errors import Unreachable

__all__ = ["host"]
FILE = b"services: {web: {image: box:1}}"


@pytest.mark.parametrize("has_docker", [False, True])
async def test_missing_compose_is_named_by_test_and_run(
    host: EngineOnHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_docker: bool
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setattr(compose_command, "PATH", str(programs))
    if has_docker:
        docker = programs / "docker"
        docker.write_text("#!/bin/sh\necho \"docker: 'compose' is not a docker command.\" >&2\nexit 1\n")
        docker.chmod(0o755)
    found = await host.backend.test_target(host.target)
    endpoint = SocketEndpoint(str(tmp_path / "none.sock"))
    with pytest.raises(Unreachable) as refused:
        await compose_command.up("a" * 26, endpoint, "shop", FILE, (), b"{}")
    expected = Failing(refused.value.code, str(refused.value))
    assert expected.code == "tool_missing"
    assert (found.fails["stack_deploy"], found.fails["stack_update"]) == (expected, expected)
