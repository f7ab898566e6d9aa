"""Processes that are added while an installation runs: a slow one is awaited, and none ends another one."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from tests.installation import standin
from tests.installation.stand_in_installations import AGENT, WITHIN, Up, start

from writ_documents import yaml_file
from writ_installation.files import list_edits
from writ_installation.files.home import Home
from writ_installation.processes.child import Child
from writ_installation.processes.report import read_report
from writ_installation.processes.services import ServiceProcess
from writ_installation.supervisor.added_processes import start_each


def agent_pid(one: Up) -> int | None:
    return next((process.pid for process in one.report.processes if process.name == AGENT), None)


async def test_slow_process_that_is_added_is_awaited_and_not_started_again(tmp_path: Path) -> None:
    one = await start(Home(tmp_path / "home"), tmp_path / "said", {"WRIT_STANDIN_AGENT": "wait"}, slow_seconds=0.5)
    try:
        await one.until(lambda: read_report(one.home.report_file) is not None)
        go = one.home.run / "go"
        go.touch()
        await one.until(lambda: "READY" in one.printed)
        inventory = yaml_file.read(one.home.inventory).data
        list_edits.write(one.home.inventory, "", {**inventory, "targets": []})
        await one.until(lambda: agent_pid(one) is None)
        go.unlink()
        before = len(one.printed)
        list_edits.write(one.home.inventory, "", inventory)
        await one.until(lambda: f"{AGENT} is not ready after 0.5 s" in one.printed[before:])
        await one.until(lambda: agent_pid(one) is not None)
        pid = agent_pid(one)
        await one.until(lambda: f"{AGENT} is not ready after 2 s" in one.printed[before:])
        assert agent_pid(one) == pid
        go.touch()
        await one.until(lambda: one.pid(AGENT) == pid and one.report.problem == "")
        assert one.printed[before:].count(f"{AGENT} is ready") == 1
    finally:
        one.process.terminate()
        await asyncio.wait_for(one.process.wait(), WITHIN)


async def test_process_that_cannot_start_ends_no_other_that_is_added_with_it(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make_folders()

    def child(name: str, mood: str) -> Child:
        own = {"WRIT_RUN_FILE": str(home.run / f"{name}.json"), f"WRIT_STANDIN_{name.upper()}": mood}
        command = (sys.executable, standin.__file__, name)
        return Child(ServiceProcess(name=name, argv=command, env=own, stop_at=0), home, os.environ, print)

    async def stop(children: list[Child]) -> None:
        stopped.extend(children)

    good, bad, stopped = child("audit", ""), child("policy", "die"), list[Child]()
    try:
        with pytest.raises(ExceptionGroup) as raised:
            await start_each([bad, good], Child.start, stop)
        [failure] = raised.value.exceptions
        assert str(failure).startswith("policy ended with status 1 at its start")
        assert (stopped, good.state) == ([bad], "ready")
    finally:
        await good.stop()
