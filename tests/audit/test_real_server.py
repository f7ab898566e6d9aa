"""The service over a real nats-server with the accounts and permissions of an installation."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from tests.audit.history import POLICY, History
from tests.audit.replica import kinds, policy, replica, search, trace

from writ_client.client import Writ
from writ_contracts.history.audit import SearchRow
from writ_installation.processes.child import tie
from writ_runtime.files.run_file import RunFile
from writ_testing.eventually import eventually
from writ_testing.peers.nats_server import INSTALLATION, WritServer, writ_server

WHOLE = ["requested", "dispatched", "granted", "finished"]
STARTS_WITHIN = 20.0


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[WritServer]:
    async with writ_server(tmp_path) as server:
        yield server


@asynccontextmanager
async def process(server: WritServer, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m writ_audit`, ready."""
    folder.mkdir(exist_ok=True)
    seed, run_file = folder / "audit.seed", folder / "run.json"
    seed.write_bytes(server.keys["audit"].seed)
    seed.chmod(0o600)
    run_file.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "NATS_URL": server.url,
        "WRIT_KEY_FILE": str(seed),
        "WRIT_POLICY_KEY": f"{server.keys['policy'].public},{POLICY.public}",
        "WRIT_INSTALLATION": INSTALLATION,
        "WRIT_STATE_DIR": str(folder / "state"),
        "WRIT_RUN_FILE": str(run_file),
    }
    started = await asyncio.create_subprocess_exec(
        *(*tie(), sys.executable, "-m", "writ_audit"), env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        await _ready(started)
        assert msgspec.json.decode(run_file.read_bytes(), type=RunFile).name == "audit"
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def _ready(started: asyncio.subprocess.Process) -> None:
    assert started.stderr is not None
    async with asyncio.timeout(STARTS_WITHIN):
        while b"service.ready" not in (line := await started.stderr.readline()):
            assert line, "it ended before it was ready"


async def test_principals_read_their_own_through_their_own_accounts(server: WritServer, tmp_path: Path) -> None:
    executor, audit, alice, bob = [await server.bus(name) for name in ("executor", "audit", "alice", "bob")]
    scripted = policy("deny")
    await scripted.serve(await server.bus("policy"))
    async with replica(audit, tmp_path / "state", scripted.key.public):
        operation = await History(executor, await server.bus("policy")).carried_out("alice", "k1")
        assert kinds(await trace(alice, "alice", operation_id=operation)) == WHOLE
        refused = await trace(bob, "bob", operation_id=operation)
        assert refused.error is not None
        assert refused.error.code == "not_found"
        assert [row.operation_id for row in (await search(alice, "alice")).rows] == [operation]
    assert {ask.subject.key for ask in scripted.decides} == {server.keys["bob"].public, server.keys["alice"].public}


async def test_a_killed_service_loses_nothing_and_stops_in_order(server: WritServer, tmp_path: Path) -> None:
    executor, alice = await server.bus("executor"), await server.bus("alice")
    history = History(executor, await server.bus("policy"))
    async with process(server, tmp_path / "audit") as first:
        first_half = [await history.carried_out("alice", f"a{number}") for number in range(20)]
        first.send_signal(signal.SIGKILL)
        await first.wait()
    second_half = [await history.carried_out("alice", f"b{number}") for number in range(20)]
    async with process(server, tmp_path / "audit") as second:

        async def caught_up() -> list[SearchRow] | None:
            rows = (await search(alice, "alice", principal="alice", limit=1000)).rows
            return rows if len(rows) >= 40 else None

        rows = await eventually(caught_up, what="an index of all operations")
        assert [row.operation_id for row in rows] == [*first_half, *second_half][::-1]
        assert kinds(await trace(alice, "alice", operation_id=second_half[-1])) == WHOLE
        second.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await second.wait() == 0


async def test_the_client_gathers_all_pages_of_a_long_trace(server: WritServer, tmp_path: Path) -> None:
    executor, audit = await server.bus("executor"), await server.bus("audit")
    history = History(executor, await server.bus("policy"))
    for number in range(120):
        await history.refused("alice", f"k{number}", correlation="c-1", message="x" * 30_000)
    async with (
        replica(audit, tmp_path / "state"),
        await Writ.connect(server.url, seed=server.keys["alice"].seed, principal="alice") as writ,
    ):
        answer = await writ.trace(correlation_id="c-1")
    assert [event.sequence for event in answer.events] == list(range(1, 121))
    assert not answer.more
