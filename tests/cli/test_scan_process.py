"""The process of one scan: a separately installed scanner that hangs, prints, fails or crashes."""

import asyncio
import os
from pathlib import Path

import pytest
from msgspec import Struct

from writ_cli.operations.catalogue import scan_process
from writ_contracts.errors import Invalid, TimedOut
from writ_testing.eventually import eventually
from writ_testing.search import alive

pytestmark = pytest.mark.asyncio
MODULE = """
import os
import subprocess
import time

from msgspec import Struct

from writ_contracts.errors import Invalid
from writ_contracts.policy.facts import Finding
from writ_contracts.scanners import Scanner


class Options(Struct):
    pids: str


def scan(target, options):
    if target == "hanging":
        child = subprocess.Popen(["sleep", "60"])
        with open(options.pids + ".part", "w") as file:
            file.write(f"{os.getpid()} {child.pid}")
        os.rename(options.pids + ".part", options.pids)
        time.sleep(60)
    if target == "unreachable":
        raise Invalid("no route to it")
    if target == "broken":
        raise RuntimeError("a defect")
    print("scanning", target)
    return [Finding(id="open-port", severity="low", found_at=1.0)]


SCANNER = Scanner(scan=scan, options=Options, summary="a scanner of a test")
"""


class Options(Struct):
    pids: str


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    """Return the options of a scanner `trying`, which is installed for child processes."""
    (tmp_path / "trying_scanner.py").write_text(MODULE)
    metadata = tmp_path / "trying_scanner-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: trying-scanner\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[writ.scanners]\ntrying = trying_scanner:SCANNER\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ["PYTHONPATH"])))
    return Options(pids=str(tmp_path / "pids"))


async def test_scanner_that_prints_returns_its_findings(options: Options, capfd: pytest.CaptureFixture[str]) -> None:
    found = await scan_process.scan("trying", "web-1", options, seconds=30)
    assert [one.id for one in found] == ["open-port"]
    out, err = capfd.readouterr()
    assert (out, "scanning web-1" in err) == ("", True)


async def test_scanner_loads_no_module_of_the_working_directory(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "msgspec.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path / "project")
    assert len(await scan_process.scan("trying", "web-1", options, seconds=30)) == 1


async def test_scanner_that_fails_or_crashes_is_an_error(options: Options) -> None:
    with pytest.raises(Invalid, match="no route to it"):
        await scan_process.scan("trying", "unreachable", options, seconds=30)
    with pytest.raises(Invalid, match="ended with status 1 and without findings"):
        await scan_process.scan("trying", "broken", options, seconds=30)


async def test_scanner_that_hangs_is_killed_with_its_children(options: Options) -> None:
    scanning = asyncio.create_task(scan_process.scan("trying", "hanging", options, seconds=60))

    async def pids() -> list[str]:
        return Path(options.pids).read_text().split() if Path(options.pids).exists() else []

    started = await eventually(pids, within=30)
    scanning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scanning

    async def gone() -> bool:
        return not any(alive(int(pid)) for pid in started)

    assert await eventually(gone)


async def test_scanner_that_takes_too_long_is_an_error(options: Options) -> None:
    with pytest.raises(TimedOut, match=r"more than 0\.01 s"):
        await scan_process.scan("trying", "hanging", options, seconds=0.01)
