"""Processes that pause and resume (SIGSTOP, SIGCONT), and a NATS server killed under load."""

import asyncio
import os
import signal
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.faults.test_kills import ENVIRON

from writ_client.client import Writ
from writ_contracts.errors import WritError
from writ_contracts.ids import operation_id as id_of
from writ_testing.eventually import eventually
from writ_testing.installations.count_load import settled
from writ_testing.installations.installation import RunningInstallation, local_target, prepare, running_installation
from writ_testing.stopwatch import stopwatch

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(240)]
TARGETS = 10
KEYS = [f"key-{number}" for number in range(40)]


async def count(writ: Writ, path: Path, number: int, key: str) -> None:
    """Repeat the request under the same key, as a client would, until it has an outcome."""

    async def ask() -> bool:
        try:
            parameters = {"path": str(path), "timeout": 10}
            await writ.run("test_count", f"web-{number % TARGETS}", parameters, idempotency_key=key, timeout=90)
        except WritError:
            return False
        return True

    await eventually(ask, within=120, what=f"an outcome of {key}")


async def check(installation: RunningInstallation, path: Path) -> Counter[str]:
    """Each succeeded has its one effect, no other has any; the outcomes."""
    async with await installation.client() as writ:
        found = {id_of("operator", key): await settled(writ, id_of("operator", key)) for key in KEYS}
        counted = Counter(path.read_text().split())
        assert set(counted.values()) <= {1}, counted
        assert {one for one, outcome in found.items() if outcome == "succeeded"} == set(counted)
        for operation_id in found:
            counts = Counter(event.kind for event in (await writ.trace(operation_id=operation_id)).events)
            assert counts["finished"] + counts["unknown"] + counts["refused"] == 1, counts
    return Counter(str(outcome) for outcome in found.values())


@pytest.mark.parametrize("victim", ["executor-1", "agent", "nats", "policy"])
async def test_every_operation_has_one_outcome_while_processes_sleep_or_die(tmp_path: Path, victim: str) -> None:
    files = tmp_path / "files"
    targets = [local_target(f"web-{number}", files) for number in range(TARGETS)]
    home = prepare(tmp_path, targets=targets)
    async with (
        running_installation(tmp_path, home=home, executors=2, environ=ENVIRON) as installation,
        await installation.client() as writ,
    ):
        path = files / "counted"
        work = [asyncio.create_task(count(writ, path, number, key)) for number, key in enumerate(KEYS)]
        await eventually(lambda: _begun(path), what="the first effects")
        if victim == "nats":
            pid = installation.kill("nats")
            await installation.until("nats", other_than=pid)
        else:
            await _sleep(installation, victim, seconds=3.0)
        await asyncio.gather(*work)
        outcomes = await check(installation, path)
    assert outcomes["succeeded"] >= len(KEYS) // 2, outcomes
    assert set(outcomes) <= {"succeeded", "failed", "expired"}


async def _begun(path: Path) -> bool:
    return path.exists() and len(path.read_text().split()) >= 3


async def _sleep(installation: RunningInstallation, victim: str, seconds: float) -> None:
    """Longer than a lease."""
    name = next(one.name for one in installation.report.processes if one.name.startswith(victim))
    pid = installation.pid(name)
    assert pid
    wake = asyncio.get_running_loop().time() + seconds

    async def slept_enough() -> bool:
        return asyncio.get_running_loop().time() > wake

    os.kill(pid, signal.SIGSTOP)
    await eventually(slept_enough, what="the time to wake it")
    os.kill(pid, signal.SIGCONT)


async def test_services_that_slept_longer_than_nats_waits_work_again_within_seconds(tmp_path: Path) -> None:
    """NATS closes a connection 30 to 40 s after the last sign of a client."""
    files = tmp_path / "files"
    home = prepare(tmp_path, targets=[local_target("web-0", files)])
    async with (
        running_installation(tmp_path, home=home) as installation,
        await installation.client() as writ,
    ):
        names = ("executor", "policy", "audit", "agent")
        before = {one.name: one.pid for one in installation.report.processes}
        wake = asyncio.get_running_loop().time() + 42.0

        async def slept_enough() -> bool:
            return asyncio.get_running_loop().time() > wake

        with ExitStack() as asleep:
            for name in names:
                asleep.enter_context(installation.paused(name))
            await eventually(slept_enough, within=60, what="the time to wake them")
        with stopwatch() as seconds:
            await count(writ, files / "counted", 0, "key")
            assert seconds() < 15.0  # on an idle machine one second
        assert {one.name: one.pid for one in installation.report.processes} == before
