"""The log of a NATS server is read once, from its end on, however it is rotated or truncated."""

import os
from functools import partial
from pathlib import Path

import pytest
from tests.audit.test_server_log import append, violation

from writ_audit.server_log.refusal import Violation, refusal
from writ_audit.server_log.tail import CHUNK, LONGEST_LINE, MOST_BEHIND, LogTail
from writ_testing.eventually import eventually
from writ_testing.peers.nats_server import writ_server


def test_log_is_read_from_its_end_through_rotation_and_truncation(tmp_path: Path) -> None:
    path = tmp_path / "nats.log"
    append(path, "before")
    tail = LogTail(path)
    assert tail.read() == ([], False)
    append(path, "one", "two")
    assert tail.read()[0] == ["one", "two"]
    with path.open("a") as log:
        log.write("ha")
    assert tail.read()[0] == []
    append(path, "lf")
    assert tail.read()[0] == ["half"]
    append(path, "last of the old")
    path.replace(tmp_path / "nats.log.1")
    append(path, "first of the new")
    assert [line for _ in range(3) for line in tail.read()[0]] == ["last of the old", "first of the new"]
    path.write_text("x\n")
    assert tail.read()[0] == ["x"]
    path.unlink()
    with pytest.raises(FileNotFoundError):
        tail.read()
    append(path, "again")
    assert tail.read()[0] == ["again"]
    tail.close()


def test_line_that_was_begun_before_the_start_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "nats.log"
    path.write_text("[1] a quoted text of a client with ")
    tail = LogTail(path)
    tail.read()
    append(path, violation(), "next")
    assert tail.read()[0] == ["next"]
    tail.close()


def test_long_lines_and_long_backlogs_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "nats.log"
    path.touch()
    tail = LogTail(path)
    tail.read()
    append(path, "x" * (CHUNK + LONGEST_LINE), "short")
    lines = [line for _ in range(3) for line in tail.read()[0]]
    assert lines == ["short"]
    append(path, *["y" * 99] * (2 * MOST_BEHIND // 100), "end")
    read = 0
    while found := tail.read()[0]:
        assert set(found) <= {"y" * 99, "end"}
        read += len(found)
    assert read < 2 * CHUNK // 100
    assert tail.skipped > MOST_BEHIND
    tail.close()


def test_pipe_in_place_of_the_log_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "nats.log")
    with pytest.raises(OSError, match="no regular file"):
        LogTail(tmp_path / "nats.log").read()


def test_log_that_grew_past_its_old_length_after_a_truncation_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "nats.log"
    append(path, "one")
    tail = LogTail(path)
    append(path, "two")
    assert tail.read()[0] == ["two"]
    path.write_text("three\nfour\n")  # the same file
    assert tail.read()[0] == ["three", "four"]
    tail.close()


@pytest.mark.parametrize("searchable", [True, False])
def test_log_that_could_not_be_read_at_first_is_read_from_where_it_ended_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, searchable: bool
) -> None:
    """Root may read everything, hence the refusals by the test."""
    path = tmp_path / "nats.log"
    append(path, "before")

    def refuse(*_: object) -> int:
        raise PermissionError("no")

    with monkeypatch.context() as refusing:
        refusing.setattr("writ_audit.server_log.tail._open", refuse)
        if not searchable:
            refusing.setattr(os, "stat", refuse)
        tail = LogTail(path)
    if searchable:
        append(path, "meanwhile")
    assert tail.read()[0] == (["meanwhile"] if searchable else [])
    append(path, "later")
    assert tail.read()[0] == ["later"]
    tail.close()


def test_each_file_of_several_rotations_between_two_reads_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "nats.log"
    append(tmp_path / "nats.log.3", "long ago")
    append(path, "zero")
    tail = LogTail(path)
    for number in range(1, 4):
        append(path, f"{number} of the last file")
        (tmp_path / f"nats.log.copy-{number}").write_bytes(path.read_bytes())
        for older in (2, 1):
            if (there := tmp_path / f"nats.log.{older}").exists():
                there.replace(tmp_path / f"nats.log.{older + 1}")
        path.replace(tmp_path / "nats.log.1")
    append(path, "4 of the last file")
    lines = [line for _ in range(6) for line in tail.read()[0]]
    assert lines == [f"{number} of the last file" for number in (1, 2, 3, 4)]
    tail.close()


async def test_log_that_nats_rotates_itself_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "own.log"
    async with writ_server(tmp_path, principals=["bot"]) as server:
        await server.process.stop()
        await server.start(f'log_file: "{path}"', "logfile_size_limit: 20000")
        tail, found = LogTail(path), list[str]()
        tail.read()
        bus = await server.bus("bot")

        async def has_read(number: int) -> bool:
            found.extend(one.subject for line in tail.read()[0] if isinstance(one := refusal(line), Violation))
            return len(found) >= number

        for number in range(400):
            await bus.publish(f"writ.request.alice.test_{number}", b"")
            if number % 20 == 19:
                await eventually(partial(has_read, number + 1))
        tail.close()
    assert found == [f"writ.request.alice.test_{number}" for number in range(400)]
    assert len([*tmp_path.glob("own.log.*")]) >= 2
