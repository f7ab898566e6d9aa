"""Files that change under a running service: a good new version is used, else the last good one."""

import asyncio
import contextlib
import os
import threading
from pathlib import Path

import pytest

from writ_contracts.errors import ConfigError
from writ_runtime.files.watched_file import WatchedFile


def number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path.name}: no number") from error


def replace(path: Path, text: str) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "number"
    path.write_text("1")
    return path


async def test_an_unchanged_file_is_not_read_again(path: Path) -> None:
    readings: list[int] = []

    def counted(path: Path) -> int:
        readings.append(number(path))
        return readings[-1]

    watched = WatchedFile(path, counted)
    assert [await watched.refresh() for _ in range(3)] == [False, False, False]
    assert readings == [1]


async def test_refresh_reads_a_changed_file(path: Path) -> None:
    watched = WatchedFile(path, number)
    replace(path, "2")
    assert await watched.refresh()
    assert watched.value == 2


async def test_a_file_of_the_same_size_and_time_is_noticed_by_its_inode(path: Path) -> None:
    watched = WatchedFile(path, number)
    times = path.stat()
    replace(path, "2")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert await watched.refresh()


async def test_a_file_written_in_place_is_noticed_though_its_modification_time_is_set_back(path: Path) -> None:
    """As by `cp -p` from a copy of the same size and time."""
    watched, before = WatchedFile(path, number), path.stat()
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of the file system has ticks
        path.write_text("2")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert await watched.refresh()
    assert watched.value == 2


async def test_a_bad_file_leaves_the_last_good_version_in_force_loudly(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched = WatchedFile(path, number)
    replace(path, "two")
    assert not await watched.refresh()
    assert (watched.value, watched.problem) == (1, "number: no number")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("ERROR", "file.refused")]
    await watched.refresh()
    assert len(caplog.records) == 1
    replace(path, "3")
    assert await watched.refresh()
    assert (watched.value, watched.problem) == (3, None)


async def test_defect_of_the_reader_keeps_the_last_value(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def defective(path: Path) -> int:
        if (value := number(path)) == 2:
            raise TypeError("no such type")
        return value

    watched = WatchedFile(path, defective)
    replace(path, "2")
    assert not await watched.refresh()
    problem = f"{path}: can't be read for a defect in writ: TypeError: no such type"
    assert (watched.value, watched.problem) == (1, problem)
    assert [record.getMessage() for record in caplog.records] == ["file.defect", "file.refused"]
    assert all(record.levelname == "ERROR" for record in caplog.records)
    replace(path, "3")
    assert await watched.refresh()
    assert (watched.value, watched.problem) == (3, None)


async def test_a_file_that_vanishes_and_returns_is_followed(path: Path) -> None:
    watched = WatchedFile(path, number)
    path.unlink()
    assert not await watched.refresh()
    assert (watched.value, watched.problem) == (1, "number: no number")
    path.write_text("4")
    assert await watched.refresh()
    assert watched.value == 4


def test_watched_file_needs_a_usable_first_version(path: Path) -> None:
    path.write_text("none")
    with pytest.raises(ConfigError):
        WatchedFile(path, number)


async def test_a_follower_sees_a_change_by_itself(path: Path) -> None:
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def noted_number(path: Path) -> int:
        value = number(path)
        if value == 2:
            loop.call_soon_threadsafe(changed.set)
        return value

    watched = WatchedFile(path, noted_number)
    follower = asyncio.create_task(watched.follow(interval=0.01))
    replace(path, "2")
    await asyncio.wait_for(changed.wait(), 10)
    follower.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await follower


class Gate:
    """A reader that waits for its release from the second time on."""

    def __init__(self) -> None:
        self.readings = 0
        self.begun, self.open = threading.Event(), threading.Event()

    def read(self, path: Path) -> int:
        self.readings += 1
        if self.readings > 1:
            self.begun.set()
            assert self.open.wait(20)
        return number(path)


async def test_caller_during_a_reading_waits_for_it(path: Path) -> None:
    gate = Gate()
    watched = WatchedFile(path, gate.read)
    replace(path, "2")
    watched.begin()
    await asyncio.to_thread(gate.begun.wait, 20)
    both = [asyncio.create_task(watched.refresh()) for _ in range(2)]
    watched.begin()
    assert await asyncio.wait(both, timeout=0.05) == (set(), set(both))
    gate.open.set()
    assert await asyncio.gather(*both) == [True, True]
    assert (watched.value, gate.readings) == (2, 2)


async def test_cancelled_refresh_leaves_the_change_to_the_next_one(path: Path) -> None:
    gate = Gate()
    watched = WatchedFile(path, gate.read)
    replace(path, "2")
    reading = asyncio.create_task(watched.refresh())
    await asyncio.to_thread(gate.begun.wait, 20)
    reading.cancel()
    await asyncio.wait([reading])
    gate.open.set()
    assert await watched.refresh()
    assert watched.value == 2


async def test_begin_does_not_read_an_unchanged_file(path: Path) -> None:
    gate = Gate()
    watched = WatchedFile(path, gate.read)
    watched.begin()
    assert not await watched.refresh()
    assert gate.readings == 1


async def test_a_large_file_is_read_while_its_last_value_stays(path: Path) -> None:
    go = threading.Event()

    def gated(path: Path) -> int:
        go.wait(10)
        return number(path)

    go.set()
    watched = WatchedFile(path, gated)
    go.clear()
    replace(path, "2" + " " * 70_000)
    assert await asyncio.wait_for(watched.refresh(waits=False), 30) is False
    assert watched.value == 1
    go.set()
    assert await watched.refresh()
    assert (watched.value, watched.age < 60) == (2, True)


async def test_a_large_file_that_cannot_be_used_leaves_the_last_value(path: Path) -> None:
    watched = WatchedFile(path, number)
    replace(path, "x" * 70_000)
    assert not await watched.refresh(waits=False)
    assert not await watched.refresh()
    assert (watched.value, watched.problem) == (1, "number: no number")
