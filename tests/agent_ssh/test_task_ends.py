"""Tasks of the backend that end early: the closing task by a defect, and a connect by a stop."""

import asyncio
from pathlib import Path

import pytest
from tests.agent_ssh.conftest import ARCHIVE, ID, SshHost

from writ_agent_ssh.connection.credentials import SshCredentials
from writ_agent_ssh.connection.host_keys import KnownHosts
from writ_agent_ssh.host_sessions.pool import Pool
from writ_bus import tasks
from writ_testing.eventually import eventually
from writ_testing.injection import break_once


async def test_unused_connections_are_closed_after_a_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_once(monkeypatch, Pool, "_sweep")
    pool = Pool(ARCHIVE, SshCredentials(tmp_path), KnownHosts(tmp_path / "known"), idle=0.01, connects=1)
    pool._target_sessions["host-1"].used_at = 0.0
    pool._sweeping = tasks.keep("ssh sweep", pool._sweep)

    async def closed() -> bool:
        return not pool._target_sessions

    await eventually(closed)
    await pool.close()
    assert tasks.take_ended() == {"ssh sweep": 1}


async def test_stop_before_the_first_step_of_a_connect_is_cancelled(host: SshHost) -> None:
    running = asyncio.create_task(host.run("network_status"))
    await asyncio.sleep(0)  # the turn in which it begins to connect
    assert await host.backend.stop(ID, 3.0)
    assert (await running).outcome == "cancelled"
