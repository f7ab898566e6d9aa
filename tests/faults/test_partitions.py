"""Partitions: one process at a time loses its link to NATS, and its messages arrive late or never.

Nothing is lost, done twice or reported falsely, and all of it ends within a bound after the link has healed.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from msgspec import Struct
from tests.faults.test_kills import ENVIRON

from writ_client.client import Writ
from writ_contracts.errors import WritError
from writ_contracts.ids import operation_id as id_of
from writ_testing.eventually import eventually
from writ_testing.exhaustive import some
from writ_testing.installations.count_load import settled
from writ_testing.installations.installation import local_target, prepare
from writ_testing.installations.linked_installation import LinkedInstallation, linked_installation
from writ_testing.peers.links import Fault

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
Ask = Callable[[str, str, dict[str, Any]], Awaitable[str | None]]
"""Key, target and parameters of one `test_count`; its outcome if the reply has one."""
TARGETS = 4
TIMEOUT = 5
HELD = 3.0
"""Seconds of a partition: more than a lease and less than a dead connection's ten."""
LONG = 20.0
"""Seconds after which each side has given the connection up."""
BOUND = 45.0
"""Seconds after healing within which everything has ended: timeout, kill grace, lease, redelivery after 2 s."""
SUCCEEDED, NOT_BEGUN = {"succeeded"}, {"succeeded", "failed"}
STARTED_OR_NOT = {*NOT_BEGUN, "expired"}


class Expected(Struct, frozen=True):
    """The possible outcomes of operations before, during and after the partition of a process."""

    outcomes: set[str]
    served: bool
    """Whether new operations go on while the link is down."""


TABLE = {
    "executor-1": Expected(NOT_BEGUN, served=True),  # the other one goes on; NATS may choose this one for each claim
    "policy": Expected(STARTED_OR_NOT, served=False),
    "audit": Expected(SUCCEEDED, served=True),
    "agent": Expected(STARTED_OR_NOT, served=False),
    "client": Expected(SUCCEEDED, served=False),
}
FAULTS: tuple[Fault, ...] = ("cut", "silent", "no_answers", "slow")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def linked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LinkedInstallation]:
    """Two executors, and one of each other service."""
    folder = tmp_path_factory.mktemp("partitions")
    targets = [local_target(f"web-{number}", folder / "files") for number in range(TARGETS)]
    home = prepare(folder, targets=targets)
    async with linked_installation(folder, home, environ=ENVIRON) as linked:
        yield linked


@asynccontextmanager
async def by_client(linked: LinkedInstallation) -> AsyncIterator[tuple[Writ, Ask]]:
    """Yield the operator's client, and requests by it."""
    async with await linked.installation.client() as writ:

        async def ask(key: str, target: str, parameters: dict[str, Any]) -> str | None:
            done = await writ.run("test_count", target, parameters, idempotency_key=key, timeout=BOUND)
            return done.outcome

        yield writ, ask


class Round:
    """Operations around one partition: each is requested until it has an outcome, under one key, as a client does."""

    def __init__(self, writ: Writ, ask: Ask, name: str, path: Path) -> None:
        self.writ, self.path = writ, path
        self._ask = ask
        self.answers = dict[str, str]()
        self._name = name
        self._work = list[asyncio.Task[None]]()

    def request(self, number: int, delay: float = 0.0) -> None:
        """Request so many more, some of which take `delay` seconds."""
        for _ in range(number):
            key = f"{self._name}-{len(self._work)}"
            target = f"web-{len(self._work) % TARGETS}"
            self._work.append(asyncio.create_task(self._run(key, target, delay * (len(self._work) % 2))))

    async def _run(self, key: str, target: str, delay: float) -> None:
        parameters = {"path": str(self.path), "delay": delay, "timeout": TIMEOUT}

        async def ask() -> str | None:
            try:
                return await self._ask(key, target, parameters)
            except WritError:
                return None  # it is asked again, as by a client

        self.answers[key] = await eventually(ask, within=2 * BOUND, what=f"an outcome of {key}")

    async def effects(self, least: int, *, after: int = 0) -> None:
        """Wait for some effects of operations after the first `after`."""

        async def there() -> bool:
            ids = {id_of(self.writ.principal, f"{self._name}-{number}") for number in range(after, len(self._work))}
            return self.path.exists() and len(ids & set(self.path.read_text().split())) >= least

        await eventually(there, within=BOUND, what=f"{least} effects")

    async def end(self) -> None:
        """Wait for all answers."""
        async with asyncio.timeout(BOUND):
            await asyncio.gather(*self._work)

    async def check(self) -> Counter[str]:
        """Assert that each has one end in the journal, the matching effect, and a reply with that end."""
        found = {key: await settled(self.writ, id_of(self.writ.principal, key)) for key in self.answers}
        effects = Counter(self.path.read_text().split())
        assert effects == Counter(
            id_of(self.writ.principal, key) for key, outcome in found.items() if outcome == "succeeded"
        )
        for key, outcome in found.items():
            assert self.answers[key] in (outcome, "unknown"), (key, self.answers[key], outcome)
            events = (await self.writ.trace(operation_id=id_of(self.writ.principal, key))).events
            kinds = Counter(event.kind for event in events)
            assert kinds["finished"] + kinds["unknown"] + kinds["refused"] == 1, (key, kinds)
        return Counter(found.values())


async def passed(seconds: float) -> None:
    """Wait for the end of the partition."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds

    async def over() -> bool:
        return loop.time() >= end

    await eventually(over, within=seconds + 5, what="the end of the partition")


CASES = [*product(TABLE, FAULTS, (HELD,)), *product(TABLE, ("silent",), (LONG,))]


@pytest.mark.parametrize(("victim", "fault", "seconds"), some(CASES, ("agent", "silent", HELD)))
async def test_partition_of_one_process_loses_doubles_and_falsifies_nothing(
    linked: LinkedInstallation, victim: str, fault: Fault, seconds: float
) -> None:
    async with by_client(linked) as (writ, ask):
        outcomes = await part(linked, writ, ask, victim, fault, seconds)
    assert set(outcomes) <= TABLE[victim].outcomes, outcomes
    assert outcomes["succeeded"] >= TARGETS, outcomes


async def part(
    linked: LinkedInstallation, writ: Writ, ask: Ask, victim: str, fault: Fault, seconds: float
) -> Counter[str]:
    """Request before, during and after a partition, check everything, and return the outcomes."""
    path = linked.installation.home.root.parent / "files" / f"{victim}-{fault}-{seconds:g}"
    name, links = linked.name_of(victim), linked.links
    served = fault == "slow" or (victim in TABLE and TABLE[victim].served)
    ran = Round(writ, ask, path.name, path)
    ran.request(2 * TARGETS, delay=1.0)
    await ran.effects(2)
    assert links.connected(name), f"{name} has no connection that could fail"
    links.fail(name, "*", fault)
    try:
        ran.request(TARGETS, delay=1.0)
        if served:
            await ran.effects(1, after=2 * TARGETS)
        await passed(seconds)
    finally:
        links.heal()
    ran.request(TARGETS)
    await ran.end()
    outcomes = await ran.check()
    await linked.well()
    return outcomes
