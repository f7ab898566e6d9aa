"""One running installation for each module, and the means of somebody who has a key of it: the real one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.e2e.robbed import holding, robbed

from writ_bus.port import Bus
from writ_client.client import Writ
from writ_testing.installations.installation import RunningHouse


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningHouse]:
    """Two pools, alice and bob, and a policy that allows them everything."""
    async with robbed(tmp_path_factory.mktemp("attacked")) as running:
        yield running


@pytest.fixture
def files(house: RunningHouse) -> Path:
    """The folder that the targets may write in."""
    return house.home.root.parent / "files"


@pytest_asyncio.fixture(loop_scope="module")
async def executor(house: RunningHouse) -> AsyncIterator[Bus]:
    """A bus of whoever has the executors' key."""
    async with holding(house, "executor") as bus:
        yield bus


@pytest_asyncio.fixture(loop_scope="module")
async def alice(house: RunningHouse) -> AsyncIterator[Writ]:
    """Alice's own client."""
    async with await house.client("alice") as client:
        yield client
