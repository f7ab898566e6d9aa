"""The metrics that deploy/k8s scales by, in a real Prometheus: operations that wait for agents of a pool or run on
them.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.architecture.test_k8s import SCALED
from tests.e2e.prometheus import Prometheus, scraping

from writ_testing.eventually import eventually
from writ_testing.installations.extra_agents import POOL
from writ_testing.installations.installation import RunningInstallation, local_target, prepare, running_installation

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]
QUERY = SCALED["spec"]["triggers"][0]["metadata"]["query"].replace('pool="ssh"', f'pool="{POOL}"')
TARGETS = [f"web-{number}" for number in range(7)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningInstallation]:
    """Yield one agent with two slots for seven targets, and two executors which both report them."""
    folder = tmp_path_factory.mktemp("scaled")
    home = prepare(folder, targets=[local_target(name, folder / "files") for name in TARGETS])
    async with running_installation(folder, home=home, executors=2, environ={"WRIT_SLOTS": "2"}) as running:
        yield running


async def test_scaling_metric_counts_waiting_and_running_operations(
    installation: RunningInstallation, tmp_path: Path
) -> None:
    async with scraping(installation, tmp_path) as prometheus, await installation.client() as writ:
        await eventually(lambda: is_(prometheus, 0), within=60, what="a number at all")
        answers = [await writ.submit("test_sleep", target, {"seconds": 600, "processes": 0}) for target in TARGETS]
        await eventually(lambda: is_(prometheus, len(TARGETS)), within=60, what="all of them")
        for answer in answers:
            await writ.cancel(answer.operation_id or "")
        await eventually(lambda: is_(prometheus, 0), within=60, what="none of them")


async def is_(prometheus: Prometheus, expected: int) -> bool:
    return await number(prometheus) == expected


async def number(prometheus: Prometheus) -> float | None:
    """Return the number as KEDA takes it: from exactly one series."""
    found = await prometheus.query(QUERY)
    if not found:
        return None
    [one] = found
    return float(one["value"][1])
