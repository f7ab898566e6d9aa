"""The latency of a healthy target's operations while other targets hang or are dead.

`python -m bench slow_targets`: one process of the SSH agent with eight slots, real sshds on loopback. A host that hangs
accepts 16 reads at once and answers none; 60 dead targets accept connections and say nothing. Before slots were given
back, a healthy read took 18 s beside the first and 43 s beside the others.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec.structs import replace
from tests.agent_ssh.ssh_installation import ssh_installation
from tests.agent_ssh.test_dead_targets import silent_server
from tests.agent_ssh.test_troubles import ODD

from bench.timing import Sample, measure, pause, summary, timed
from writ_contracts.agents import Receipt
from writ_contracts.inventory import Target
from writ_testing.fakes.scripted_executor import ScriptedExecutor
from writ_testing.peers.sshd import Sshd, sshd
from writ_trust.statements import read

OPERATIONS = 60
READS, DEAD = 16, 60
BAR = 2.0
KINDS = ("alone", f"{READS} reads of a host that hangs", f"{DEAD} dead targets")
ROUNDS, QUIET = 3, 25.0
"""Rounds of all kinds in turn, and the seconds after each in which the slow reads end."""
"""The bar: an operation of a healthy target may take this many times its p50 without slow targets."""


class Reads:
    """Reads by the scripted executor. Each receipt is handled once, for all waiters."""

    def __init__(self, executor: ScriptedExecutor) -> None:
        self._executor = executor
        self._waiting: dict[str, asyncio.Event] = {}
        self._seen = 0

    async def follow(self) -> None:
        """Hand receipts to their waiters, until cancelled."""
        while True:
            await self._executor.until(lambda: len(self._executor.receipts) > self._seen, patience=600)
            for one in self._executor.receipts[self._seen :]:
                self._ended(read(one.receipt, Receipt).operation_id).set()
            self._seen = len(self._executor.receipts)

    async def one(self, target: Target, path: str) -> None:
        """Run a read, from its dispatch to its receipt."""
        operation_id = await self._executor.dispatch("file_read", target, file_path=path, timeout=20)
        await self._ended(operation_id).wait()

    def _ended(self, operation_id: str) -> asyncio.Event:
        return self._waiting.setdefault(operation_id, asyncio.Event())


@asynccontextmanager
async def _beside(reads: Reads, targets: Sequence[Target], each: int) -> AsyncIterator[None]:
    """Keep so many reads of each target in flight; repeat them two seconds after their end."""

    async def repeat(target: Target) -> None:
        while True:
            await reads.one(target, "/srv/none")
            await pause(2.0)

    tasks = [asyncio.create_task(repeat(target)) for target in targets for _ in range(each)]
    try:
        await pause(3.0)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _elsewhere(healthy: Sshd, name: str, port: int, key: Path) -> Target:
    host_key = key.read_text().rpartition(" ")[0]
    connection = healthy.connection(port=port, host_keys=[host_key])
    return healthy.target(name, connection=connection, file_roots=["/srv"])


async def run() -> dict[str, Sample]:
    """Measure a healthy target's reads, alone and beside each kind of slow target."""
    found: dict[str, list[float]] = {name: [] for name in KINDS}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        script = folder / "odd.py"
        script.write_text(ODD.replace("BEHAVIOUR", "hang()"))
        async with (
            ssh_installation(folder / "healthy") as installation,
            sshd(folder / "hanging", f"ForceCommand exec {sys.executable} {script}") as hanging,
            silent_server() as silent,
        ):
            server, target = installation.server, installation.target()
            (installation.root / "small").write_text("small\n")
            path = str(installation.root / "small")
            await installation.agent()

            async def healthy(_: int) -> None:
                await reads.one(target, path)

            reads = Reads(installation.executor)
            following = asyncio.create_task(reads.follow())
            await measure(healthy, 1, 20)
            hangs = _elsewhere(server, "hanging", hanging.port, hanging.folder / "host_key.pub")
            with (hanging.folder / "authorized_keys").open("a") as file:
                file.write((server.keys / "hanging.pub").read_text())
            first = _elsewhere(server, "dead", silent, hanging.folder / "host_key.pub")
            dead = [replace(first, id=f"dead-{number}") for number in range(DEAD)]
            for one in dead:
                (server.keys / one.id).write_bytes((server.keys / "dead").read_bytes())
                (server.keys / one.id).chmod(0o600)
            for round_number in range(ROUNDS):
                await pause(QUIET if round_number else 0.0)
                for name, (others, each) in zip(KINDS, (((), 0), ([hangs], READS), (dead, 1)), strict=True):
                    async with _beside(reads, others, each):
                        found[name] += await timed(healthy, 1, OPERATIONS)
            following.cancel()
    return {name: summary(times, sum(times)) for name, times in found.items()}


def table(found: dict[str, Sample]) -> str:
    """Return the table as Markdown."""
    alone = found["alone"].p95
    lines = ["| beside a healthy target | its reads: p50 ms | p95 ms | p99 ms | p95 × alone |", "|---|--:|--:|--:|--:|"]
    lines += [f"| {name} | {one.p50} | {one.p95} | {one.p99} | {one.p95 / alone:.2f} |" for name, one in found.items()]
    return "\n".join([*lines, "", f"Bar: {BAR:g} × alone."])
