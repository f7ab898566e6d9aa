"""Every service restarted under load, one after the other: no operation failed, was lost or done twice."""

from pathlib import Path

import pytest

from writ_testing.installations.count_load import load
from writ_testing.installations.installation import local_target, prepare, running_installation

pytestmark = pytest.mark.timeout(600)
ENVIRON = {"WRIT_HEARTBEAT": "0.5", "WRIT_LEASE": "3", "WRIT_RATE": "10000", "WRIT_BURST": "10000"}
TARGETS = [f"web-{number}" for number in range(6)]
THREE = ("--policies", "3", "--audits", "3", "--agents", "3")


@pytest.mark.exhaustive
@pytest.mark.parametrize(("replicas", "executors"), [(THREE, 3), ((), 1)], ids=["three-of-each", "one-of-each"])
async def test_a_rolling_restart_under_load_fails_loses_and_doubles_nothing(
    tmp_path: Path, replicas: tuple[str, ...], executors: int
) -> None:
    files = tmp_path / "files"
    home = prepare(tmp_path, targets=[local_target(name, files) for name in TARGETS])
    installation = running_installation(tmp_path, home=home, executors=executors, environ=ENVIRON, arguments=replicas)
    async with installation as running, await running.client() as writ:
        before = {one.name: one.pid for one in running.report.processes}
        async with load(writ, TARGETS, files / "counted", delay=0.1) as ran:
            for name in before:
                ended = await running.writ("restart", name)
                assert ended.status == 0, ended
                await ran.more(1)
        after = {one.name: one.pid for one in running.report.processes}
        assert not set(before.items()) & set(after.items())
        await ran.check(writ)
        for log in running.home.log.glob("*.log"):
            assert "task.ended" not in log.read_text(), f"{log.name}: a stop is told as a defect"
