"""Kills, pauses and restarts of random processes under a mixed load: every outcome is true, and nobody is accused.

Another seed draws other faults. How far the load is at each fault depends on the machine, so no run is like another.
"""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec import Struct

from writ_client.client import Writ
from writ_contracts.errors import Denied, Invalid, WritError
from writ_contracts.history.audit import SecurityFilter
from writ_contracts.requests import OperationView
from writ_testing.eventually import eventually
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(480)]
ENVIRON = {"WRIT_HEARTBEAT": "0.5", "WRIT_LEASE": "3", "WRIT_RATE": "10000", "WRIT_BURST": "10000"}
REPLICAS = ("--policies", "2", "--agents", "2")
TARGETS = ["web-1", "web-2", "prod-1"]
APPROVERS = ["bob", "carol"]
PEOPLE: list[tuple[str, dict[str, Any]]] = [(name, {"roles": ["approver"]}) for name in APPROVERS]
TWO: dict[str, Any] = {
    "name": "two",
    "operations": ["test_count"],
    "targets": ["prod-*"],
    "allowed": True,
    "approval": {"quorum": 2, "timeout": "60s"},
}
AUDIT = {"name": "audit", "operations": ["audit_read"], "allowed": True}
SECRET = "correct-horse-battery"
ENDS = ("finished", "rejected", "unknown")
WORKERS, FAULTS = 6, 25
ENDS_WITHIN = 150.0


class Ran(Struct, kw_only=True):
    """One request, with the file of its effect; `seen` has every outcome that its requester was told."""

    operation: str
    path: Path
    view: OperationView | None = None
    seen: set[tuple[str, str]] = set()


class RandomLoad:
    """Requests of one kind after the other, each repeated under its key until its requester knows the outcome."""

    def __init__(self, installation: RunningInstallation, folder: Path, seed: int) -> None:
        self.ran: list[Ran] = []
        self._installation, self._folder, self._seed = installation, folder, seed
        self._over = asyncio.Event()

    async def during(self, faults: Sequence["Fault"]) -> None:
        """Run the load while the faults happen, and until each of its operations has an outcome."""
        async with asyncio.TaskGroup() as group:
            for number in range(WORKERS):
                group.create_task(self._work(Random(f"{self._seed} {number}")))
            deciding = [group.create_task(self._decide(name)) for name in APPROVERS]
            for fault in faults:
                await asyncio.sleep(fault.after)
                await fault.happen(self._installation)
            self._over.set()
            await eventually(self._all_known, within=ENDS_WITHIN, what="an outcome of each operation")
            for one in deciding:
                one.cancel()

    async def _all_known(self) -> bool:
        return all(one.view is not None for one in self.ran)

    async def _work(self, random: Random) -> None:
        async with await self._installation.client(wait=60) as writ:
            while not self._over.is_set():
                operation = random.choice(["test_count", "test_count", "file_write", "test_secret", "test_noop"])
                one = Ran(operation=operation, path=self._folder / f"{len(self.ran)}")
                self.ran.append(one)
                await self._end(writ, one, random.choice(TARGETS), f"key-{len(self.ran)}")

    async def _end(self, writ: Writ, one: Ran, target: str, key: str) -> None:
        of_each: dict[str, dict[str, object]] = {
            "test_count": {"path": str(one.path), "timeout": 8},
            "file_write": {"file_path": str(one.path), "content": "once\n", "timeout": 8},
            "test_secret": {"secret": SECRET},
            "test_noop": {},
        }

        async def ask() -> OperationView | None:
            with suppress(WritError):  # nobody answers just now, or it has not ended yet
                return await writ.run(
                    one.operation, target, of_each[one.operation], idempotency_key=key, timeout=20, reason="a test"
                )
            return None

        view = await eventually(ask, within=ENDS_WITHIN, what=f"an outcome of {one.operation} on {target}")
        one.seen.add((view.outcome or "", view.code))
        one.view = view

    async def _decide(self, name: str) -> None:
        """Approve what is pending, and reject some of it."""
        random, key = Random(f"{self._seed} {name}"), (self._installation.home.key("policy").public,)
        async with await self._installation.client(name, wait=60) as person:
            while True:
                await asyncio.sleep(0.5)
                with suppress(WritError):
                    for pending in await person.approvals.every_pending():
                        card = await person.approvals.card(pending.operation_id, key)
                        with suppress(Denied, Invalid):  # the other one was first, or there is no preview yet
                            decide = person.approvals.reject if random.random() < 0.1 else person.approvals.approve
                            await decide(card, reason="a test")


class Fault(Struct, frozen=True, kw_only=True):
    """A signal to these processes, `after` so many seconds; a SIGSTOP ends after `pause` seconds."""

    after: float
    signal: signal.Signals
    share: float
    pause: float
    draw: str

    async def happen(self, installation: RunningInstallation) -> None:
        random = Random(self.draw)
        running = [one for one in installation.report.processes if one.pid is not None]
        hit = random.sample(running, max(1, round(len(running) * self.share)))
        for one in hit:
            with suppress(ProcessLookupError):  # it is just being started again
                os.kill(one.pid or 0, self.signal)
        if self.signal is signal.SIGSTOP:
            await asyncio.sleep(self.pause)
            for one in hit:
                with suppress(ProcessLookupError):
                    os.kill(one.pid or 0, signal.SIGCONT)


def faults_of(seed: int) -> list[Fault]:
    random, found = Random(seed), list[Fault]()
    for number in range(FAULTS):
        fault = Fault(
            after=random.choice([0.3, 1, 2, 4]),
            signal=random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM]),
            share=random.choice([0, 0, 0, 0.3, 0.8]),
            pause=random.choice([0.3, 1, 5]),
            draw=f"{seed} {number}",
        )
        found.append(fault)
    return found


def effect_of(one: Ran) -> int:
    """Return how often it took effect, as its file shows."""
    return len(one.path.read_text().split()) if one.path.exists() else 0


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
async def test_random_faults_lose_and_double_nothing_and_each_outcome_is_true(tmp_path: Path, seed: int) -> None:
    files = tmp_path / "files"
    targets = [local_target(name, files) for name in TARGETS]
    home = prepare(tmp_path, targets=targets, policy=open_policy(TWO, AUDIT), principals=PEOPLE)
    installation = running_installation(tmp_path, home=home, executors=2, environ=ENVIRON, arguments=REPLICAS)
    async with installation as running:
        load = RandomLoad(running, files, seed)
        await load.during(faults_of(seed))
        async with await running.client(wait=60) as writ:
            kinds = {kind for one in load.ran for kind in await check(writ, one)}
            assert {"approval_given", "approved", "granted", "finished"} <= kinds
            accused = (await writ.security_events(SecurityFilter())).events
            assert accused == []
        assert [path for path in files.iterdir() if path.name.startswith(".")] == []
        logs = running.logs()
        assert "Traceback" not in logs
        assert SECRET not in logs


async def check(writ: Writ, one: Ran) -> list[str]:
    """Check the outcome on record against its effect, against what its requester was told, and against its events.
    Return the kinds of the events.
    """
    assert one.view is not None
    operation_id, told = one.view.operation_id, one.seen
    known = await eventually(lambda: recorded(writ, operation_id), within=ENDS_WITHIN, what="an outcome on record")
    kinds = [event.kind for event in (await writ.trace(operation_id=operation_id)).events]
    about = (one.operation, known.outcome, known.code, told, kinds)
    assert {outcome for outcome, _ in told} <= {known.outcome, "unknown"}, about
    assert (kinds.count("requested"), sum(kinds.count(end) for end in ENDS)) == (1, 1), about
    if one.operation in ("test_count", "file_write"):
        took = effect_of(one)
        assert took == (known.outcome == "succeeded") or (known.outcome == "unknown" and took <= 1), (took, about)
    return kinds


async def recorded(writ: Writ, operation_id: str) -> OperationView | None:
    with suppress(WritError):
        return await writ.get(operation_id)
    return None
