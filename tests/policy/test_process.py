"""The policy service as a process, over a real server."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from tests.policy.publishing import CLOSED, OPEN, publish, roll_back
from tests.policy.replica import RULES, Asking, Clock, Files, files

from writ_bus.errors import BusError
from writ_installation.processes.child import tie
from writ_policy.config import PolicyConfig
from writ_policy.service import PolicyService
from writ_runtime.config import load
from writ_runtime.metrics import Metrics
from writ_testing.eventually import eventually
from writ_testing.peers.nats_server import INSTALLATION, WritServer, writ_server

PATIENCE = 30.0


class Running:
    """A started process; `port` is where its health is."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process, self.port = process, port

    async def get(self, path: str) -> tuple[int, str]:
        return await asyncio.to_thread(_get, f"http://127.0.0.1:{self.port}{path}")

    async def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        await asyncio.wait_for(self.process.communicate(), PATIENCE)
        return self.process.returncode or 0


def _get(url: str) -> tuple[int, str]:
    try:
        with urlopen(url, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def environ(known: Files, url: str, **changed: str) -> dict[str, str]:
    seed = known.folder / "policy.seed"
    seed.write_bytes(known.keys["policy"].seed)
    seed.chmod(0o600)
    return {
        **os.environ,
        "NATS_URL": url,
        "WRIT_KEY_FILE": str(seed),
        "SYSTEMMANAGER_POLICY_CONFIG": str(known.path("policy")),
        "WRIT_INVENTORY": str(known.path("inventory")),
        "WRIT_PRINCIPALS": str(known.path("principals")),
        "WRIT_AGENTS": str(known.path("agents")),
        "WRIT_INSTALLATION": INSTALLATION,
        "WRIT_STATE_DIR": str(known.folder / "state"),
        **changed,
    }


async def start(environ: Mapping[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(*tie(), sys.executable, "-m", "writ_policy"), env=environ, stderr=asyncio.subprocess.PIPE, limit=1 << 20
    )


async def ready(process: asyncio.subprocess.Process) -> Running:
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE):
        while line := await process.stderr.readline():
            event: dict[str, Any] = json.loads(line)
            if event["event"] == "service.ready":
                return Running(process, event["health_port"])
    raise AssertionError(f"it ended with {await process.wait()}")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[WritServer]:
    (tmp_path / "nats").mkdir()
    async with writ_server(tmp_path / "nats") as one:
        yield one


@pytest.fixture
def known(tmp_path: Path, server: WritServer) -> Files:
    made = files(tmp_path, INSTALLATION)
    made.keys["policy"] = server.keys["policy"]
    return made


@asynccontextmanager
async def running(known: Files, server: WritServer, **changed: str) -> AsyncIterator[Running]:
    process = await start(environ(known, server.url, **changed))
    try:
        yield await ready(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def asker(known: Files, server: WritServer) -> Asking:
    # The service itself is another process: the asker has no use for one.
    service = PolicyService.__new__(PolicyService)
    clock = Clock()
    clock.now = time.time()  # as the server has it
    return Asking(await server.bus("executor"), known, service, Metrics(), clock)


async def test_policy_decides_grants_and_follows_stops_over_a_real_server(known: Files, server: WritServer) -> None:
    async with running(known, server) as policy:
        asking = await asker(known, server)
        assert await asking.code(asking.subject()) == "allowed"
        subject = asking.subject()
        assert (await asking.grant(subject)).operation_id == subject.operation_id
        sequence = await asking.control("stop_set", {"scope": ["*"], "reason": "it burns", "until": None})
        assert await asking.code(asking.subject(), control_sequence=sequence) == "stopped"
        status, text = await policy.get("/metrics")
        assert status == 200
        assert 'writ_policy_decisions_total{effect="allow",operation="service_restart",role="development"} 2.0' in text
        assert "writ_policy_info{" in text
        assert await policy.stop() == 0


async def test_two_replicas_share_the_questions_and_agree(known: Files, server: WritServer) -> None:
    async with running(known, server), running(known, server):
        asking = await asker(known, server)
        codes = await asyncio.gather(*(asking.code(asking.subject()) for _ in range(50)))
        assert set(codes) == {"allowed"}
        known.policy({**RULES[0], "allowed": False})
        codes = await asyncio.gather(*(asking.code(asking.subject()) for _ in range(50)))
        assert set(codes) == {"denied"}


async def test_a_version_that_is_published_decides_everywhere_from_its_control_event_on(
    known: Files, server: WritServer
) -> None:
    known.write("policy", OPEN)
    async with running(known, server), running(known, server):
        asking = await asker(known, server)
        asking.clock.now = time.time()
        sequence = await publish(asking, CLOSED)
        requested = (asking.decision(asking.subject(), control_sequence=sequence) for _ in range(50))
        assert {(one.code, one.policy.number) for one in await asyncio.gather(*requested)} == {("denied", 2)}
        async with running(known, server):
            back = await roll_back(asking, 1)
            requested = (asking.decision(asking.subject(), control_sequence=back) for _ in range(50))
            assert {(one.code, one.policy.number) for one in await asyncio.gather(*requested)} == {("allowed", 3)}


async def test_a_killed_replica_leaves_the_other_and_a_new_one_catches_up(known: Files, server: WritServer) -> None:
    async with running(known, server) as first:
        asking = await asker(known, server)
        sequence = await asking.control("stop_set", {"scope": ["*"], "reason": "it burns", "until": None})
        first.process.kill()
        await first.process.wait()
        async with running(known, server):
            assert await asking.code(asking.subject(), control_sequence=sequence) == "stopped"


async def test_bad_file_is_reported_and_the_service_stays_ready(known: Files, server: WritServer) -> None:
    async with running(known, server) as policy:
        known.write("policy", "policies: {nmae: x}")

        async def warning_is_shown() -> bool:
            status, text = await policy.get("/readyz")
            return status == 200 and "did you mean 'name'" in text

        await eventually(warning_is_shown)
        asking = await asker(known, server)
        assert await asking.code(asking.subject()) == "allowed"


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"WRIT_INVENTORY": ""}, "WRIT_INVENTORY is not set"),
        ({"SYSTEMMANAGER_POLICY_MODE": "lenient"}, "SYSTEMMANAGER_POLICY_MODE"),
        ({"WRIT_AGENTS": "/nowhere/agents.yaml"}, "/nowhere/agents.yaml"),
    ],
)
async def test_policy_does_not_start_with_a_wrong_configuration(
    tmp_path: Path, changed: dict[str, str], problem: str
) -> None:
    process = await start(environ(files(tmp_path, INSTALLATION), "nats://127.0.0.1:1", **changed))
    _, error = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 2
    assert problem in error.decode()


def test_the_policy_file_has_the_name_of_the_specification_unless_another_is_set(tmp_path: Path) -> None:
    known = files(tmp_path, INSTALLATION)
    supplied = environ(known, "nats://127.0.0.1:1", SYSTEMMANAGER_POLICY_CONFIG="")
    assert load(PolicyConfig, supplied).policy == Path("/etc/systemmanager/policy.yaml")
    assert load(PolicyConfig, environ(known, "nats://127.0.0.1:1")).policy == known.path("policy")


async def test_an_empty_store_and_a_policy_that_cannot_be_used_are_no_start(known: Files, server: WritServer) -> None:
    process = await start(environ(known, server.url, SYSTEMMANAGER_POLICY_CONFIG="/nowhere/policy.yaml"))
    _, error = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 2
    assert "/nowhere/policy.yaml:1:1: can't be read" in error.decode()


async def test_policy_refuses_requests_of_other_roles(known: Files, server: WritServer) -> None:
    async with running(known, server):
        asking = await asker(known, server)
        for name in ("alice", "agent-a", "status"):
            asking.bus = await server.bus(name)
            with pytest.raises(BusError):
                await asking.decide(asking.subject())
