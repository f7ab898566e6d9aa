"""The policy service as a process, over a real server."""

import asyncio
import json
import os
import signal
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from tests.policy.publishing import CLOSED, OPEN, publish, roll_back
from tests.policy.replica import RULES, Asking, Clock, Files, files

from writ_bus.errors import BusError
from writ_policy.config import PolicyConfig
from writ_policy.service import PolicyService
from writ_runtime.config import load
from writ_runtime.metrics import Metrics
from writ_testing.eventually import eventually
from writ_testing.installations.commands import start_service
from writ_testing.installations.forked_process import ForkedProcess
from writ_testing.peers.nats_server import INSTALLATION, WritServer, writ_server

PATIENCE = 30.0
_numbers = count(1)


class Running:
    """A started process, and the file with its log."""

    def __init__(self, process: Process | ForkedProcess, path: Path) -> None:
        self.process, self._path = process, path

    @property
    def log(self) -> str:
        return self._path.read_text()

    async def ready(self) -> int | None:
        """Return the port of its health once it is ready."""
        assert self.process.returncode is None, self.log
        events = [json.loads(line) for line in self.log.splitlines(keepends=True) if line.endswith("\n")]
        return next((event["health_port"] for event in events if event["event"] == "service.ready"), None)

    async def get(self, path: str) -> tuple[int, str]:
        return await asyncio.to_thread(_get, f"http://127.0.0.1:{await self.ready()}{path}")

    async def ended(self) -> int:
        """Wait for the end. Return the exit status."""
        return await asyncio.wait_for(self.process.wait(), PATIENCE)

    async def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return await self.ended()


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


async def start(environ: Mapping[str, str]) -> Running:
    path = Path(f"{environ['WRIT_STATE_DIR']}-{next(_numbers)}.log")
    with path.open("wb") as log:
        return Running(await start_service("writ_policy", environ, log), path)


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
    started = await start(environ(known, server.url, **changed))
    try:
        await eventually(started.ready, within=PATIENCE, what="a ready process")
        yield started
    finally:
        if started.process.returncode is None:
            started.process.kill()
            await started.ended()


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
        await first.ended()
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
    started = await start(environ(files(tmp_path, INSTALLATION), "nats://127.0.0.1:1", **changed))
    assert await started.ended() == 2
    assert problem in started.log


def test_the_policy_file_has_the_name_of_the_specification_unless_another_is_set(tmp_path: Path) -> None:
    known = files(tmp_path, INSTALLATION)
    supplied = environ(known, "nats://127.0.0.1:1", SYSTEMMANAGER_POLICY_CONFIG="")
    assert load(PolicyConfig, supplied).policy == Path("/etc/systemmanager/policy.yaml")
    assert load(PolicyConfig, environ(known, "nats://127.0.0.1:1")).policy == known.path("policy")


async def test_an_empty_store_and_a_policy_that_cannot_be_used_are_no_start(known: Files, server: WritServer) -> None:
    started = await start(environ(known, server.url, SYSTEMMANAGER_POLICY_CONFIG="/nowhere/policy.yaml"))
    assert await started.ended() == 2
    assert "/nowhere/policy.yaml:1:1: can't be read" in started.log


async def test_policy_refuses_requests_of_other_roles(known: Files, server: WritServer) -> None:
    async with running(known, server):
        asking = await asker(known, server)
        for name in ("alice", "agent-a", "status"):
            asking.bus = await server.bus(name)
            with pytest.raises(BusError):
                await asking.decide(asking.subject())
