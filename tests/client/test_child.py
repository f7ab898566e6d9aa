"""A child of `writ up`, a stand-in, that takes longer to be ready again than it should."""

import os
import signal
import sys
from pathlib import Path

from tests.client import standin

from writ_client.house.child import Child
from writ_client.house.home import Home
from writ_client.house.services import Service
from writ_testing.eventually import eventually


async def test_one_that_is_ready_again_late_is_told_and_then_counts_as_ready(tmp_path: Path) -> None:
    home, said = Home(tmp_path / "home"), list[str]()
    home.make_folders()
    command = (sys.executable, standin.__file__, "service", "audit")
    own = {"WRIT_RUN_FILE": str(home.run / "audit.json")}
    child = Child(Service(name="audit", argv=command, env=own, stop_at=0), home, os.environ, said.append)
    await child.start()
    try:
        before = child.pid
        assert before is not None
        child._start_seconds = 0.01  # less than any interpreter takes to start
        os.kill(before, signal.SIGKILL)

        async def again() -> bool:
            return child.state == "ready" and child.pid not in (None, before)

        await eventually(again, what="that it is ready again")
    finally:
        await child.stop()
    assert any("audit is not ready after 0.01 s" in words for words in said)
    assert said[-1] == "audit is ready again"
