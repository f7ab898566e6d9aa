"""One running installation for each module, and the tools of an attacker with one of its keys."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.e2e.stolen_keys import holding, robbed

from writ_bus.port import Bus
from writ_client.client import Writ
from writ_testing.installations.installation import RunningInstallation


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    """Yield an installation with two pools, alice and bob, and a policy which allows them everything."""
    async with robbed(tmp_path_factory.mktemp("attacked")) as running:
        yield running


@pytest.fixture
def files(installation: RunningInstallation) -> Path:
    """Return the folder writable for the targets."""
    return installation.home.root.parent / "files"


@pytest_asyncio.fixture(loop_scope="module")
async def executor(installation: RunningInstallation) -> AsyncIterator[Bus]:
    """Yield a bus with the executors' key."""
    async with holding(installation, "executor") as bus:
        yield bus


@pytest_asyncio.fixture(loop_scope="module")
async def alice(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client("alice") as client:
        yield client
