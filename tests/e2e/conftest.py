"""One real installation for each test module: `writ up` with two executors, and a client of its operator."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from writ_cli.arguments import completion
from writ_client.client import Writ
from writ_testing.installations.installation import (
    RunningInstallation,
    local_target,
    open_policy,
    prepare,
    running_installation,
)

ENVIRON = {"WRIT_HEARTBEAT": "0.5", "WRIT_LEASE": "2", "WRIT_RATE": "100000", "WRIT_BURST": "100000"}
RULES: list[dict[str, Any]] = [
    {"name": "nobody_fails", "operations": ["test_fail"], "allowed": False, "target_roles": ["production"]},
]


@pytest.fixture(scope="session", autouse=True)
def patient_completion() -> Iterator[None]:
    """Wait longer for names to complete and to suggest than a person would: workers share two cores."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(completion, "PATIENCE", 20.0)
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    """Yield an installation with `web-1` (this machine) and `db-1` (a production target of another pool, also here)."""
    folder = tmp_path_factory.mktemp("installation")
    root = folder / "files"
    targets = [
        local_target("web-1", root),
        local_target("db-1", root, role="production", agent="local-db"),
    ]
    home = prepare(folder, targets=targets, policy=open_policy(*RULES), principals=[("alice", {}), ("bob", {})])
    async with running_installation(folder, home=home, executors=2, environ=ENVIRON) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def writ(installation: RunningInstallation) -> AsyncIterator[Writ]:
    async with await installation.client() as client:
        yield client


@pytest.fixture
def files(installation: RunningInstallation) -> Path:
    """Return the folder writable for the targets."""
    return installation.home.root.parent / "files"
