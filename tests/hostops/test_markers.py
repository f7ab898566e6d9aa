"""Marks of operations: an id is carried out once, its result is known afterwards, and a probe reads them first."""

import errno
import json
import os
import stat
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.hostops.conftest import Ask, named, names

from writ_hostops import CancelToken, markers, processes, syscalls


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder, not yet there."""
    return tmp_path.resolve() / "state"


def test_known_operation_id_is_refused_with_its_result(ask: Ask, srv: Path, state: Path) -> None:
    supplied = {"target": {"state_dir": str(state)}, "request": {"shown": ["digest_after"]}, "file_path": f"{srv}/a"}
    first = ask("file_write", content="one", **supplied)
    (srv / "a").write_text("changed since")
    second = ask("file_write", content="one", **supplied)
    assert (second["code"], second["earlier_code"]) == ("already_seen", "")
    shown = {"digest_after": first["output"]["digest_after"]}  # and nothing else of the output is kept here
    assert {**second, "code": ""} == {**first, "earlier_code": "", "output": shown}
    assert (srv / "a").read_text() == "changed since"


def test_another_attempt_or_id_is_carried_out(ask: Ask, srv: Path, state: Path) -> None:
    target = {"state_dir": str(state)}
    for request in ({}, {"attempt": 2}, {"id": named(2)}):
        result = ask("file_write", target=target, request=request, file_path=f"{srv}/a", content=str(request))
        assert result["code"] == ""


def test_an_id_whose_end_is_not_known_is_unknown(ask: Ask, srv: Path, state: Path) -> None:
    markers.Markers(str(state)).begin(named(1), 1, "file_write", {})
    result = ask("file_write", target={"state_dir": str(state)}, file_path=f"{srv}/a", content="one")
    assert (result["outcome"], result["code"], result["effect"], result["certain"]) == (
        "unknown",
        "already_seen",
        "maybe",
        False,
    )
    assert names(srv) == []


def test_a_mark_torn_by_a_crash_counts(ask: Ask, srv: Path, state: Path) -> None:
    state.mkdir(mode=0o700)
    (state / f"{named(1)}.1.begun").write_text('{"oper')
    result = ask("file_write", target={"state_dir": str(state)}, file_path=f"{srv}/a", content="one")
    assert (result["outcome"], result["code"]) == ("unknown", "already_seen")


def test_the_mark_is_there_before_the_effect(ask: Ask, srv: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    observed: list[dict[str, Any]] = []
    real = syscalls.renameat2

    def look(*arguments: Any) -> None:
        observed.append(json.loads((state / f"{named(1)}.1.begun").read_text()))
        real(*arguments)

    monkeypatch.setattr(syscalls, "renameat2", look)
    ask("file_write", target={"state_dir": str(state)}, file_path=f"{srv}/a", content="planted-secret")
    assert observed[0]["operation"] == "file_write"
    assert "planted-secret" not in "".join(path.read_text() for path in state.iterdir())


def test_the_mark_is_synced_beside_the_new_content_and_before_the_effect(
    ask: Ask, srv: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (srv / "a").write_text("old")
    steps: list[str] = []
    content_synced, renaming, mark_synced = threading.Event(), threading.Event(), threading.Event()
    fsync, rename = os.fsync, syscalls.renameat2

    def slow_mark(fd: int) -> None:
        name = str(Path(f"/proc/self/fd/{fd}").readlink())
        if name.endswith(".begun"):
            assert content_synced.wait(10)  # the operation goes on with what it prepares
            assert not renaming.wait(0.05)
        fsync(fd)
        steps.append(Path(name).suffix)
        if name.endswith(".tmp") and ".writ-" in name:
            content_synced.set()
        if name == str(state):
            mark_synced.set()

    def renamed(*arguments: Any) -> None:
        renaming.set()
        assert mark_synced.is_set()
        assert (srv / "a").read_text() == "old"
        steps.append("rename")
        rename(*arguments)

    monkeypatch.setattr(os, "fsync", slow_mark)
    monkeypatch.setattr(syscalls, "renameat2", renamed)
    result = ask("file_write", target={"state_dir": str(state)}, file_path=f"{srv}/a", content="new")
    assert result["outcome"] == "succeeded"
    assert steps.index(".tmp") < steps.index(".begun") < steps.index("rename")
    assert (srv / "a").read_text() == "new"


@pytest.mark.parametrize("content", ["new", "old"])
def test_nothing_is_written_whose_mark_cannot_be_synced(
    ask: Ask, srv: Path, state: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (srv / "a").write_text("old")
    fsync = os.fsync

    def broken(fd: int) -> None:
        if Path(f"/proc/self/fd/{fd}").readlink().suffix == ".begun":
            raise OSError(errno.EIO, "bad disk")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", broken)
    result = ask("file_write", target={"state_dir": str(state)}, file_path=f"{srv}/a", content=content)
    assert (result["outcome"], result["effect"], result["code"]) == ("failed", "none", "internal")
    assert ((srv / "a").read_text(), names(srv)) == ("old", ["a"])


def test_the_state_folder_is_private(ask: Ask, srv: Path, state: Path) -> None:
    ask("file_write", target={"state_dir": str(state)}, file_path=f"{srv}/a", content="x")
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in state.iterdir()} == {0o600}
    state.chmod(0o777)
    refused = ask(
        "file_write", target={"state_dir": str(state)}, request={"id": named(2)}, file_path=f"{srv}/a", content="y"
    )
    assert (refused["code"], refused["effect"]) == ("permission_denied", "none")
    assert (srv / "a").read_text() == "x"


def test_operation_has_no_effect_if_its_mark_cannot_be_written(ask: Ask, srv: Path) -> None:
    (srv / "file").touch()
    result = ask("file_write", target={"state_dir": f"{srv}/file/state"}, file_path=f"{srv}/a", content="x")
    assert (result["outcome"], result["effect"]) == ("failed", "none")
    assert names(srv) == ["file"]


def test_reading_needs_no_mark(ask: Ask, srv: Path, state: Path) -> None:
    (srv / "a").write_text("x")
    for _ in range(2):
        assert ask("file_read", target={"state_dir": str(state)}, file_path=f"{srv}/a")["outcome"] == "succeeded"
    assert not state.exists()


def test_a_probe_reads_the_record_first(ask: Ask, srv: Path, state: Path) -> None:
    target = {"state_dir": str(state)}
    ask("file_write", target=target, file_path=f"{srv}/a", content="x")
    (srv / "a").write_text("changed since")
    probed = ask("file_write", "probe", target=target, file_path=f"{srv}/a")["output"]
    assert probed["verdict"] == "succeeded"
    ask("file_delete", target=target, request={"id": named(2)}, file_path=f"{srv}/none")
    probed = ask("file_delete", "probe", target=target, request={"id": named(2)}, file_path=f"{srv}/none")["output"]
    assert probed["verdict"] == "not_done"


def test_probe_by_the_record_counts_an_earlier_attempt_without_an_end(ask: Ask, srv: Path, state: Path) -> None:
    """The first attempt deleted the file and was killed. The second one failed without an effect: the file was gone."""
    target, given = {"state_dir": str(state)}, {"file_path": f"{srv}/a"}
    markers.Markers(str(state)).begin(named(1), 1, "file_delete", {})
    second = {"attempt": 2}
    failed = ask("file_delete", target=target, request=second, **given)
    assert (failed["code"], failed["effect"]) == ("not_found", "none")
    baseline = ask("file_delete", "baseline", target=target, **given)["output"]
    probed = ask("file_delete", "probe", target=target, request={**second, "baseline": baseline}, **given)
    assert probed["output"]["verdict"] != "not_done"


def test_probe_by_the_record_knows_an_earlier_attempt_that_succeeded(ask: Ask, srv: Path, state: Path) -> None:
    target, marks = {"state_dir": str(state)}, markers.Markers(str(state))
    marks.begin(named(1), 1, "file_delete", {})
    marks.end(named(1), 1, {"outcome": "succeeded", "effect": "done", "certain": True, "state": {"exists": False}})
    marks.begin(named(1), 2, "file_delete", {})
    marks.end(named(1), 2, {"outcome": "failed", "effect": "none", "certain": True})
    (srv / "a").write_text("written by others since")
    probed = ask("file_delete", "probe", target=target, request={"attempt": 2}, file_path=f"{srv}/a")
    assert probed["output"]["verdict"] == "succeeded"
    assert probed["state"] == {"exists": False}


def test_probe_of_many_attempts_can_be_cancelled(ask: Ask, srv: Path, state: Path) -> None:
    with CancelToken(60.0) as stop:
        markers.Markers(str(state)).begin(named(1), 1, "file_delete", {})
        reads = markers.Markers.read

        def cancelled_read(self: markers.Markers, operation_id: str, attempt: int) -> Any:
            stop.cancel()
            return reads(self, operation_id, attempt)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(markers.Markers, "read", cancelled_read)
            request = {"attempt": 1_000_000}
            probed = ask(
                "file_delete",
                "probe",
                target={"state_dir": str(state)},
                request=request,
                stop=stop,
                file_path=f"{srv}/a",
            )
    assert probed["code"] == "cancelled"


def test_probe_is_unknown_while_another_process_carries_out_the_operation(ask: Ask, srv: Path, state: Path) -> None:
    supplied = {"file_path": f"{srv}/a", "content": "one"}
    with subprocess.Popen(["sleep", "60"]) as other:
        who = {**processes.identity(), "pid": other.pid, "start": processes._start(other.pid)}
        state.mkdir(mode=0o700)
        (state / f"{named(1)}.1.begun").write_text(json.dumps({"operation": "file_write", "process": who}))
        runs = ask("file_write", "probe", target={"state_dir": str(state)}, **supplied)
        other.kill()
    assert runs["output"] == {"verdict": "unknown", "reason": "it still runs on this host"}
    gone = ask("file_write", "probe", target={"state_dir": str(state)}, **supplied)
    assert gone["output"]["reason"] != "it still runs on this host"


def test_a_probe_knows_the_digest_that_was_to_be_written(ask: Ask, srv: Path, state: Path) -> None:
    """Killed between the effect and its record: the public parameters and the mark are enough."""
    target = {"state_dir": str(state)}
    ask("file_write", target=target, file_path=f"{srv}/a", content="x")
    (state / f"{named(1)}.1.ended").unlink()
    assert ask("file_write", "probe", target=target, file_path=f"{srv}/a")["output"]["verdict"] == "succeeded"
    (srv / "a").write_text("other")
    assert ask("file_write", "probe", target=target, file_path=f"{srv}/a")["output"]["verdict"] == "unknown"


class Uptime:
    """The boot clock of this host, as a test sets it."""

    def __init__(self) -> None:
        self.boot, self.id = 1_000.0, "boot-0"

    def passes(self, seconds: float) -> None:
        self.boot += seconds

    def boots(self) -> None:
        self.boot, self.id = 10.0, f"{self.id}x"


@pytest.fixture
def uptime(monkeypatch: pytest.MonkeyPatch) -> Uptime:
    made = Uptime()
    monkeypatch.setattr(processes, "boot_time", lambda: made.boot)
    monkeypatch.setattr(processes, "boot_id", lambda: made.id)
    return made


def test_old_marks_are_swept(ask: Ask, srv: Path, state: Path, uptime: Uptime) -> None:
    target = {"state_dir": str(state)}
    ask("file_write", target=target, file_path=f"{srv}/a", content="x")
    uptime.passes(markers.KEPT + 1)
    ask("file_write", target=target, request={"id": named(2)}, file_path=f"{srv}/a", content="y")
    assert names(state) == [".clock", f"{named(2)}.1.begun", f"{named(2)}.1.ended"]


@pytest.mark.parametrize("years", [-40, -1, 1, 40])
def test_a_clock_that_is_set_sweeps_no_mark(
    ask: Ask, srv: Path, state: Path, uptime: Uptime, monkeypatch: pytest.MonkeyPatch, years: int
) -> None:
    target = {"state_dir": str(state)}
    ask("file_write", target=target, file_path=f"{srv}/a", content="x")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + years * 365 * 86_400.0)
    uptime.passes(86_401.0)
    ask("file_write", target=target, request={"id": named(2)}, file_path=f"{srv}/a", content="y")
    again = ask("file_write", target=target, file_path=f"{srv}/a", content="x")
    assert again["code"] == "already_seen"


def test_marks_grow_older_through_boots_and_not_while_the_host_is_off(
    ask: Ask, srv: Path, state: Path, uptime: Uptime
) -> None:
    target = {"state_dir": str(state)}
    ask("file_write", target=target, file_path=f"{srv}/a", content="x")
    for number in range(2, 5):
        uptime.boots()
        uptime.passes(markers.KEPT / 4)
        ask("file_write", target=target, request={"id": named(number)}, file_path=f"{srv}/a", content="y")
    assert (state / f"{named(1)}.1.begun").exists()
    uptime.passes(markers.KEPT / 2)
    ask("file_write", target=target, request={"id": named(5)}, file_path=f"{srv}/a", content="y")
    assert not (state / f"{named(1)}.1.begun").exists()


def test_marks_of_an_earlier_release_are_kept_as_long_as_new_ones(
    ask: Ask, srv: Path, state: Path, uptime: Uptime
) -> None:
    state.mkdir(mode=0o700)
    (state / f"{named(1)}.1.begun").write_text('{"operation": "file_write"}')
    (state / ".swept").write_text("{}")
    target = {"state_dir": str(state)}
    ask("file_write", target=target, request={"id": named(2)}, file_path=f"{srv}/a", content="y")
    uptime.passes(markers.KEPT - 1)
    ask("file_write", target=target, request={"id": named(3)}, file_path=f"{srv}/a", content="y")
    assert (state / f"{named(1)}.1.begun").exists()
    uptime.passes(86_401.0)
    ask("file_write", target=target, request={"id": named(4)}, file_path=f"{srv}/a", content="y")
    assert names(state) == [
        ".clock",
        *(f"{named(number)}.1.{what}" for number in (3, 4) for what in ("begun", "ended")),
    ]


@pytest.mark.parametrize("damaged", ["", "{", "[]", '{"boot": "x", "now": 1, "swept": null}', '{"boot": 1.0}'])
def test_a_damaged_clock_of_the_folder_sweeps_nothing(ask: Ask, srv: Path, state: Path, damaged: str) -> None:
    target = {"state_dir": str(state)}
    ask("file_write", target=target, file_path=f"{srv}/a", content="x")
    (state / ".clock").write_text(damaged)
    ask("file_write", target=target, request={"id": named(2)}, file_path=f"{srv}/a", content="y")
    assert ask("file_write", target=target, file_path=f"{srv}/a", content="x")["code"] == "already_seen"


def test_marks_that_another_one_sweeps_at_the_same_time_are_no_trouble(
    ask: Ask, srv: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listdir = os.listdir
    monkeypatch.setattr("writ_hostops.markers.os.listdir", lambda folder: [*listdir(folder), f"{named(3)}.1.ended.tmp"])
    result = ask("file_write", target={"state_dir": str(state)}, file_path=f"{srv}/a", content="x")
    assert result["outcome"] == "succeeded"


@pytest.mark.parametrize("wrong", ["", "../x", "a/b", ".hidden", "a\n", "x" * 129, 5, None])
def test_an_id_that_is_no_file_name_is_refused(ask: Ask, srv: Path, state: Path, wrong: Any) -> None:
    result = ask(
        "file_write", target={"state_dir": str(state)}, request={"id": wrong}, file_path=f"{srv}/a", content="x"
    )
    assert (result["id"], result["code"]) == ("", "invalid_parameter")
    assert names(srv) == []
