"""An installation over the plain client carries out an operation and stops in order."""

from pathlib import Path

import pytest
from tests.e2e.conftest import ENVIRON, RULES

from writ_testing.installations.installation import local_target, open_policy, prepare, running_installation


async def test_operations_succeed_over_the_plain_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRIT_NATS_CLIENT", "plain")
    root = tmp_path / "files"
    home = prepare(
        tmp_path, targets=[local_target("web-1", root)], policy=open_policy(*RULES), principals=[("alice", {})]
    )
    environ = {**ENVIRON, "WRIT_NATS_CLIENT": "plain"}
    async with (
        running_installation(tmp_path, home=home, environ=environ) as installation,
        await installation.client() as writ,
    ):
        path = root / "motd"
        done = await writ.run("file_write", "web-1", {"file_path": str(path), "content": "plain"}, timeout=30)
        assert (done.outcome, path.read_text()) == ("succeeded", "plain")
        trace = await writ.trace(operation_id=done.operation_id)
        assert trace.events[-1].kind == "finished"
