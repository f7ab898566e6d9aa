"""Ending the processes of an operation, however late: survivors of the grace are killed."""

import asyncio
import os
import subprocess

import pytest
from tests.agent.conftest import until

import writ_hostops.processes
from writ_agent.backends import processes
from writ_contracts.ids import encode_id

LATE = -1.0
"""Seconds that are left: none, as after a pause of the whole machine."""


async def test_an_agent_that_comes_late_kills_all_the_same() -> None:
    operation_id = encode_id(os.urandom(16))
    left = await asyncio.create_subprocess_exec("sleep", "300", env=processes.marked_environ(operation_id))
    try:
        await until(lambda: processes.living(operation_id) == [left.pid])
        await processes.end(operation_id, 0.0, LATE)
        assert await asyncio.wait_for(left.wait(), 20) == -9
    finally:
        if left.returncode is None:
            left.kill()
            await left.wait()


async def test_a_host_that_comes_late_kills_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writ_hostops.processes, "_FORCE", LATE)
    operation_id = encode_id(os.urandom(16))
    with subprocess.Popen(["sleep", "300"], env=processes.marked_environ(operation_id)) as left:
        try:
            await until(lambda: writ_hostops.processes.marked(operation_id) == [left.pid])
            writ_hostops.processes.end({}, operation_id, 0.0)
            assert left.wait(20) == -9
        finally:
            left.kill()
