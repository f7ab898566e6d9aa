"""A flooding principal is refused before any work is done, gets the reason, and delays nobody else."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from writ_client.client import Writ
from writ_contracts.errors import Full
from writ_contracts.history.audit import SearchQuery
from writ_testing.eventually import eventually
from writ_testing.installations.installation import RunningInstallation, prepare, running_installation

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
BURST = 40
ENVIRON = {"WRIT_RATE": "5", "WRIT_BURST": str(BURST)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    """Yield an installation with a principal for the flood."""
    folder = tmp_path_factory.mktemp("flood")
    home = prepare(folder, principals=[("mallory", {})])
    async with running_installation(folder, home=home, environ=ENVIRON) as running:
        yield running


class Flood:
    """Requests of one principal, the next as soon as one is answered, until it is over."""

    def __init__(self, writ: Writ) -> None:
        self._writ = writ
        self.over = False
        self.accepted: list[str] = []
        self.refused: list[Full] = []

    async def ask(self) -> None:
        while not self.over:
            try:
                answer = await self._writ.submit("test_noop", "web-1", sign=False)
            except Full as error:
                self.refused.append(error)
            else:
                self.accepted.append(answer.operation_id or "")

    async def is_refused(self, number: int) -> bool:
        """Return true if the principal was refused, and more often than accepted."""
        return len(self.refused) >= max(number, len(self.accepted) + 1)


async def test_a_flood_is_refused_unrecorded_while_anothers_operations_go_through(
    installation: RunningInstallation,
) -> None:
    async with (
        await installation.client("mallory") as mallory,
        await installation.client() as writ,
        asyncio.TaskGroup() as group,
    ):
        flood = Flood(mallory)
        for _ in range(16):
            group.create_task(flood.ask())
        try:
            await eventually(lambda: flood.is_refused(20), what="a refusal")
            done = [await writ.run("test_noop", "web-1", timeout=60) for _ in range(10)]
            after = len(flood.refused)
            await eventually(lambda: flood.is_refused(after + 20), what="the flood that still goes on")
        finally:
            flood.over = True
    assert [view.outcome for view in done] == ["succeeded"] * 10
    assert {(error.code, error.retry) for error in flood.refused} == {("rate_limited", True)}
    assert str(flood.refused[0]) == "mallory sends more than 5 requests a second: wait, then go on"
    assert len(flood.accepted) >= BURST
    async with await installation.client("mallory") as mallory:
        recorded = (await mallory.search(SearchQuery(limit=1000))).rows
    assert {one.operation_id for one in recorded} == set(flood.accepted)
