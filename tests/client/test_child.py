"""A child of `writ up`, a stand-in, that is killed: it is ready again late, or finds its folders gone."""

import os
import shutil
import signal
import sys
from pathlib import Path

from tests.client import standin

from writ_client.house.child import Child
from writ_client.house.home import Home
from writ_client.house.services import Service
from writ_testing.eventually import eventually


def stand_in(tmp_path: Path, said: list[str]) -> Child:
    home = Home(tmp_path / "home")
    home.make_folders()
    command = (sys.executable, standin.__file__, "service", "audit")
    own = {"WRIT_RUN_FILE": str(home.run / "audit.json")}
    return Child(Service(name="audit", argv=command, env=own, stop_at=0), home, os.environ, said.append)


async def until_another(child: Child, before: int | None) -> None:
    async def again() -> bool:
        return child.state == "ready" and child.pid not in (None, before)

    await eventually(again, what="that it is ready again")


async def test_one_that_is_ready_again_late_is_told_and_then_counts_as_ready(tmp_path: Path) -> None:
    said = list[str]()
    child = stand_in(tmp_path, said)
    await child.start()
    try:
        before = child.pid
        assert before is not None
        child._start_seconds = 0.01  # less than any interpreter takes to start
        os.kill(before, signal.SIGKILL)
        await until_another(child, before)
    finally:
        await child.stop()
    assert any("audit is not ready after 0.01 s" in words for words in said)
    assert said[-1] == "audit is ready again"


async def test_one_whose_folders_somebody_removed_is_started_again_all_the_same(tmp_path: Path) -> None:
    said = list[str]()
    child = stand_in(tmp_path, said)
    await child.start()
    try:
        before = child.pid
        assert before is not None
        for folder in (child.log.parent, child.run_file.parent):
            shutil.rmtree(folder)
        os.kill(before, signal.SIGKILL)
        await until_another(child, before)
        assert child.log.parent.stat().st_mode & 0o777 == 0o700
    finally:
        await child.stop()
    assert said[-1] == "audit is ready again"
