"""A killed stand-in child of `writ up` is ready again late, or finds its folders removed."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.installation import standin

from writ_contracts.errors import ConfigError, Unreachable
from writ_installation.files.home import Home
from writ_installation.processes.child import Child, quoted, tie
from writ_installation.processes.services import ServiceProcess
from writ_testing.eventually import eventually


@asynccontextmanager
async def stand_in(
    tmp_path: Path, show: Callable[[str], None], mood: str = "", **seconds: float
) -> AsyncIterator[Child]:
    home = Home(tmp_path / "home")
    home.make_folders()
    command = (sys.executable, standin.__file__, "audit")
    own = {"WRIT_RUN_FILE": str(home.run / "audit.json"), "WRIT_STANDIN_AUDIT": mood}
    service = ServiceProcess(name="audit", argv=command, env=own, stop_at=0)
    child = Child(service, home, os.environ, show, **seconds)
    await child.start()
    try:
        yield child
    finally:
        await child.stop()


async def killed(child: Child) -> None:
    """Kill it, and wait until it is ready again."""
    before = child.pid
    assert before is not None
    os.kill(before, signal.SIGKILL)

    async def again() -> bool:
        return child.state == "ready" and child.pid not in (None, before)

    await eventually(again, what="that it is ready again")


async def test_child_that_is_ready_late_is_reported_and_then_counts_as_ready(tmp_path: Path) -> None:
    lines, go = list[str](), tmp_path / "home" / "run" / "go"

    def show(line: str) -> None:
        lines.append(line)
        if "is not ready after" in line:
            go.touch()

    async with stand_in(tmp_path, show, "wait", slow_seconds=0.01) as child:
        go.unlink()
        lines.clear()
        child._slow_seconds = 0.01
        await killed(child)
    assert any("audit is not ready after 0.01 s" in words for words in lines)
    assert lines[-1] == "audit is ready again"


async def test_slow_child_is_reported_less_and_less_often_and_then_counts_as_ready(tmp_path: Path) -> None:
    lines = list[str]()

    def show(line: str) -> None:
        lines.append(line)
        if len(lines) == 3:
            (tmp_path / "home" / "run" / "go").touch()

    async with stand_in(tmp_path, show, "wait", slow_seconds=0.01) as child:
        assert child.state == "ready"
    assert lines[0].startswith("audit is not ready after 0.01 s (")
    assert lines[0].endswith(f"): still waiting (log: {child.log})")
    assert [line.split()[5] for line in lines[:3]] == ["0.01", "0.02", "0.04"]


@pytest.mark.parametrize("status", [1, 2])
async def test_error_at_a_start_quotes_no_lines_of_an_earlier_run(tmp_path: Path, status: int) -> None:
    home = Home(tmp_path / "home")
    home.make_folders()
    (home.log / "audit.log").write_text("writ audit: WRIT_SLOTS: no number\n")
    script = f"import sys; print('it fails'); sys.exit({status})"
    service = ServiceProcess(name="audit", argv=(sys.executable, "-c", script), env={}, stop_at=0)
    with pytest.raises(Unreachable) as raised:
        await Child(service, home, os.environ, print).start()
    end = f"the end of {home.log / 'audit.log'}:\n  it fails"
    assert str(raised.value) == f"audit ended with status {status} at its start; {end}"


def test_log_that_was_begun_anew_is_quoted_from_its_first_line(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    log.write_text("of the new log\n")
    assert quoted(log, since=1_000).endswith("\n  of the new log")


async def test_child_with_removed_folders_is_started_again(tmp_path: Path) -> None:
    lines = list[str]()
    async with stand_in(tmp_path, lines.append) as child:
        for folder in (child.log.parent, child.run_file.parent):
            shutil.rmtree(folder)
        await killed(child)
        assert child.log.parent.stat().st_mode & 0o777 == 0o700
    assert lines[-1] == "audit is ready again"


@pytest.mark.parametrize("name", ["policy", "agent-local", "agent-ssh"])
async def test_mistake_in_the_configuration_of_a_child_is_named_without_its_log(tmp_path: Path, name: str) -> None:
    home = Home(tmp_path / "home")
    home.make_folders()
    script = f"import sys; print('a log line'); print('writ {name}: WRIT_SLOTS: no number'); sys.exit(2)"
    service = ServiceProcess(name=f"{name}-1", argv=(sys.executable, "-c", script), env={}, stop_at=0)
    with pytest.raises(ConfigError, match=f"^{name}-1 cannot start: WRIT_SLOTS: no number$"):
        await Child(service, home, os.environ, print).start()


def test_timers_are_late_by_no_more_than_they_may_be() -> None:
    show = ["cat", "/proc/self/timerslack_ns"]
    usual, changed = (subprocess.check_output([*tie(slack), *show], text=True).strip() for slack in (0, 1_000_000))
    assert changed == "1000000"
    assert usual == Path("/proc/self/timerslack_ns").read_text().strip()
