"""Marks of operations: an id is carried out once, its result is known afterwards, and a probe reads them first."""

import json
import os
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from tests.hostops.conftest import Ask, named, names

from writ_hostops import markers, processes, syscalls


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder, not yet there."""
    return tmp_path.resolve() / "state"


def test_an_id_that_was_seen_is_refused_with_its_result(ask: Ask, srv: Path, state: Path) -> None:
    given = {"target": {"state_dir": str(state)}, "request": {"shown": ["digest_after"]}, "file_path": f"{srv}/a"}
    first = ask("file_write", content="one", **given)
    (srv / "a").write_text("changed since")
    second = ask("file_write", content="one", **given)
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
    seen: list[dict[str, Any]] = []
    real = syscalls.renameat2

    def look(*arguments: Any) -> None:
        seen.append(json.loads((state / f"{named(1)}.1.begun").read_text()))
        real(*arguments)

    monkeypatch.setattr(syscalls, "renameat2", look)
    ask("file_write", target={"state_dir": str(state)}, file_path=f"{srv}/a", content="planted-secret")
    assert seen[0]["operation"] == "file_write"
    assert "planted-secret" not in "".join(path.read_text() for path in state.iterdir())


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


def test_no_mark_no_effect(ask: Ask, srv: Path) -> None:
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


def test_a_probe_cannot_tell_while_another_process_works_on_it(ask: Ask, srv: Path, state: Path) -> None:
    given = {"file_path": f"{srv}/a", "content": "one"}
    with subprocess.Popen(["sleep", "60"]) as other:
        who = {**processes.identity(), "pid": other.pid, "start": processes._start(other.pid)}
        state.mkdir(mode=0o700)
        (state / f"{named(1)}.1.begun").write_text(json.dumps({"operation": "file_write", "process": who}))
        runs = ask("file_write", "probe", target={"state_dir": str(state)}, **given)
        other.kill()
    assert runs["output"] == {"verdict": "unknown", "reason": "it still runs on this host"}
    gone = ask("file_write", "probe", target={"state_dir": str(state)}, **given)
    assert gone["output"]["reason"] != "it still runs on this host"


def test_a_probe_knows_the_digest_that_was_to_be_written(ask: Ask, srv: Path, state: Path) -> None:
    """Killed between the effect and its record: the public parameters and the mark are enough."""
    target = {"state_dir": str(state)}
    ask("file_write", target=target, file_path=f"{srv}/a", content="x")
    (state / f"{named(1)}.1.ended").unlink()
    assert ask("file_write", "probe", target=target, file_path=f"{srv}/a")["output"]["verdict"] == "succeeded"
    (srv / "a").write_text("other")
    assert ask("file_write", "probe", target=target, file_path=f"{srv}/a")["output"]["verdict"] == "unknown"


def test_old_marks_are_swept(ask: Ask, srv: Path, state: Path) -> None:
    target = {"state_dir": str(state)}
    ask("file_write", target=target, file_path=f"{srv}/a", content="x")
    old = time.time() - markers.KEPT - 1
    for name in names(state):
        os.utime(state / name, (old, old))
    ask("file_write", target=target, request={"id": named(2)}, file_path=f"{srv}/a", content="y")
    assert names(state) == [".swept", f"{named(2)}.1.begun", f"{named(2)}.1.ended"]


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
