"""The alert WritClockSkew fires for the process whose clock is wrong, and ends once it is right."""

from pathlib import Path

import pytest
from tests.e2e.prometheus import hasty_rules, scraping

from writ_testing.eventually import eventually
from writ_testing.host_clocks import HostClocks, shifted_python
from writ_testing.installations.installation import running_installation

pytestmark = pytest.mark.timeout(240)
ALERT = "WritClockSkew"
AHEAD = 30.0


async def test_alert_fires_for_the_process_with_the_wrong_clock_and_ends_with_its_cause(tmp_path: Path) -> None:
    clocks = HostClocks(tmp_path / "clocks")
    async with (
        running_installation(tmp_path, environ=clocks.environ, command=shifted_python(tmp_path)) as installation,
        scraping(installation, tmp_path, rules=hasty_rules(tmp_path)) as prometheus,
    ):
        assert not await prometheus.fires(ALERT)
        (audit,) = [one.name for one in installation.report.processes if one.name.startswith("audit")]
        clocks.set(audit, wall=AHEAD)
        await eventually(lambda: prometheus.fires(ALERT), within=90, what="the alert")
        shown = await installation.writ("status")
        assert f"{audit}: clock" in shown.out
        clocks.set(audit, wall=0.0)

        async def over() -> bool:
            return not await prometheus.fires(ALERT)

        await eventually(over, within=90, what="the end of the alert")
