"""Logs of NATS servers are read on where the former process stopped, each line by one audit service."""

import os
from pathlib import Path

import pytest
from tests.audit.test_server_log import append

from writ_audit.server_log.followed_logs import FILE, FollowedLogs


def new_lines(logs: FollowedLogs) -> list[str]:
    found = list[str]()
    while lines := logs.read()[0]:
        found += lines
    return found


@pytest.mark.parametrize("rotated", ["", "nats.log.1", "nats.log.2026.11.28.20.40.47.085768565"])
def test_lines_written_while_audit_was_down_are_read_afterwards(tmp_path: Path, rotated: str) -> None:
    path = tmp_path / "nats.log"
    append(path, "before the first start")
    first = FollowedLogs(path, tmp_path)
    append(path, "read")
    with path.open("a") as log:
        log.write("ha")
    assert new_lines(first) == ["read"]
    first.save([])
    first.close()
    append(path, "lf", "while it was down")
    if rotated:
        path.rename(tmp_path / rotated)
        append(path, "in the next file")
    second = FollowedLogs(path, tmp_path)
    assert new_lines(second) == ["half", "while it was down", *(["in the next file"] if rotated else [])]
    second.close()


def test_log_that_was_rotated_twice_while_audit_was_down_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "nats.log"
    append(path, "before")
    first = FollowedLogs(path, tmp_path)
    first.save([])
    first.close()
    append(path, "one")
    path.rename(tmp_path / "nats.log.1")
    append(path, "two")
    path.rename(tmp_path / "nats.log.2")
    append(path, "three")
    second = FollowedLogs(path, tmp_path)
    assert new_lines(second) == ["one", "two", "three"]
    second.close()


def test_log_that_was_truncated_while_audit_was_down_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "nats.log"
    append(path, "old")
    first = FollowedLogs(path, tmp_path)
    first.read()
    first.save([])
    first.close()
    path.write_text("new\nand longer\n")
    second = FollowedLogs(path, tmp_path)
    assert new_lines(second) == ["new", "and longer"]
    second.close()


def test_position_that_cannot_be_read_or_written_stops_nothing(tmp_path: Path) -> None:
    path, state = tmp_path / "nats.log", tmp_path / "state"
    append(path, "before")
    state.mkdir()
    (state / FILE).write_text("no position")
    logs = FollowedLogs(path, state)
    append(path, "after")
    assert new_lines(logs) == ["after"]
    (state / FILE).unlink()
    state.rmdir()
    logs.save([])
    append(path, "more")
    assert new_lines(logs) == ["more"]
    logs.close()


def test_logs_of_a_cluster_are_followed_in_their_folder(tmp_path: Path) -> None:
    append(tmp_path / "nats.log", "before")
    append(tmp_path / "nats.log.2026.11.28", "former part")
    logs = FollowedLogs(tmp_path)
    assert new_lines(logs) == []
    append(tmp_path / "nats.log", "one")
    append(tmp_path / "nats-2.log", "of a server that starts later")
    (tmp_path / "nats-0.log").mkdir()
    assert sorted(logs.read()[0]) == ["of a server that starts later", "one"]
    assert "nats-0" in logs.problem
    (tmp_path / "nats-0.log").rmdir()
    logs.read()
    assert not logs.problem
    logs.close()


def test_folder_without_a_log_is_reported(tmp_path: Path) -> None:
    logs = FollowedLogs(tmp_path)
    with pytest.raises(OSError, match=r"no \*\.log"):
        logs.read()
    logs.close()


def test_log_behind_a_folder_that_is_not_open_is_reported_and_keeps_nobody_from_starting(tmp_path: Path) -> None:
    """An overlong name stands for it: tests may run as root, with access to every folder."""
    logs = FollowedLogs(tmp_path / ("x" * 300) / "nats.log")
    with pytest.raises(OSError, match="too long"):
        logs.read()
    logs.close()


def test_position_is_kept_while_the_log_cannot_be_read(tmp_path: Path) -> None:
    path, aside = tmp_path / "nats.log", tmp_path / "aside"
    append(path, "before")
    first = FollowedLogs(path, tmp_path)
    first.save([])
    first.close()
    path.rename(aside)
    os.mkfifo(path)
    unable = FollowedLogs(path, tmp_path)
    with pytest.raises(OSError, match="regular"):
        unable.read()
    unable.save([])
    path.unlink()
    aside.rename(path)
    append(path, "after")
    third = FollowedLogs(path, tmp_path)
    assert new_lines(unable) == ["after"]
    unable.close()
    assert new_lines(third) == ["after"]
    third.close()


def test_one_of_several_audit_services_returns_the_lines_and_another_takes_over(tmp_path: Path) -> None:
    path = tmp_path / "nats.log"
    path.touch()
    first, second = FollowedLogs(path), FollowedLogs(path)
    first.read()
    append(path, "one")
    assert (new_lines(first), new_lines(second)) == (["one"], [])
    assert (first.is_standby, second.is_standby) == (False, True)
    first.close()
    append(path, "two")
    assert new_lines(second)[-1] == "two"
    assert not second.is_standby
    second.close()


def test_line_that_both_services_had_before_the_first_one_ended_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "nats.log"
    path.touch()
    first, second = FollowedLogs(path), FollowedLogs(path)
    first.read()
    append(path, "not read by the first one any more")
    assert new_lines(second) == []
    first.close()
    assert new_lines(second) == ["not read by the first one any more"]
    second.close()
