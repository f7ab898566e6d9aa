"""file_read: any piece of a regular file, as text or base64."""

import base64
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.hostops.conftest import Ask, names, write_unseen

from writ_hostops.files import read


def test_the_whole_file_comes_with_its_digest(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("grüße\n")
    (srv / "a").chmod(0o640)
    result = ask("file_read", file_path=f"{srv}/a")
    assert result["outcome"] == "succeeded"
    assert result["effect"] == "none"
    assert result["output"] == {
        "file_path": f"{srv}/a",
        "content": "grüße\n",
        "encoding": "utf-8",
        "offset": 0,
        "length": 8,
        "end": True,
        "size": 8,
        "digest": hashlib.sha256("grüße\n".encode()).hexdigest(),
        "mode": "0640",
    }
    assert "grüße" not in str(result["state"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60), step=st.integers(4, 20))
def test_pieces_joined_are_the_file(ask: Ask, srv: Path, text: str, step: int) -> None:
    (srv / "a").write_bytes(text.encode())
    joined, offset = "", 0
    while True:
        output = ask("file_read", file_path=f"{srv}/a", offset=offset, max_bytes=step)["output"]
        joined += output["content"]
        offset += output["length"]
        if output["end"]:
            break
    assert joined == text


@pytest.mark.parametrize("length", [4, 8, 9], ids=["piece", "all of it", "more than all"])
def test_a_file_that_changes_once_its_piece_is_read_has_no_version_of_another_read(
    ask: Ask, srv: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    file, piece = srv / "a", read._piece
    file.write_bytes(b"old text")

    def before_a_change(fd: int, offset: int, limit: int, size: int) -> bytearray:
        data = piece(fd, offset, limit, size)
        write_unseen(file, "new text")
        return data

    with monkeypatch.context() as patched:
        patched.setattr(read, "_piece", before_a_change)
        first = ask("file_read", file_path=f"{srv}/a", max_bytes=length)
    assert first["output"]["content"] == "old text"[:length]
    version = first["state"]["version"]
    assert "+" in version
    later = ask("file_read", file_path=f"{srv}/a", offset=4)
    assert (later["output"]["content"], later["state"]["version"]) == ("text", version.partition("+")[2])


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
def test_a_second_name_of_another_users_file_is_refused(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("x")
    (srv / "mine").mkdir()
    (srv / "mine" / "a").hardlink_to(srv / "a")
    assert ask("file_read", file_path=f"{srv}/mine/a")["outcome"] == "succeeded"
    os.chown(srv / "mine", 65534, 65534)
    refused = ask("file_read", file_path=f"{srv}/mine/a")
    assert (refused["outcome"], refused["code"]) == ("failed", "outside_roots")


def test_bytes_that_are_no_text_are_read_as_base64(ask: Ask, srv: Path) -> None:
    (srv / "a").write_bytes(b"\xff\x00\xfe")
    refused = ask("file_read", file_path=f"{srv}/a")
    assert (refused["outcome"], refused["code"]) == ("failed", "invalid_parameter")
    assert "base64" in refused["message"]
    read = ask("file_read", file_path=f"{srv}/a", encoding="base64")
    assert base64.b64decode(read["output"]["content"]) == b"\xff\x00\xfe"


def test_a_huge_file_is_read_in_pieces_and_not_hashed(ask: Ask, srv: Path) -> None:
    with (srv / "huge").open("wb") as file:
        file.truncate(1 << 40)
    output = ask("file_read", file_path=f"{srv}/huge", offset=(1 << 40) - 3, max_bytes=10, encoding="base64")["output"]
    assert (output["length"], output["end"], output["size"], output["digest"]) == (3, True, 1 << 40, "")


def test_an_offset_behind_the_end_reads_nothing(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("abc")
    output = ask("file_read", file_path=f"{srv}/a", offset=99)["output"]
    assert (output["content"], output["length"], output["end"]) == ("", 0, True)


def test_a_root_may_be_written_with_a_slash_at_its_end(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("abc")
    for root in (f"{srv}/", {"path": f"{srv}//"}):
        assert ask("file_read", target={"file_roots": [root]}, file_path=f"{srv}/a")["outcome"] == "succeeded"


def test_the_targets_own_limit_holds(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("abcdef")
    output = ask("file_read", target={"max_output": 4}, file_path=f"{srv}/a")["output"]
    assert (output["content"], output["end"]) == ("abcd", False)


def test_absent_files_and_folders_are_distinguished(ask: Ask, srv: Path) -> None:
    (srv / "folder").mkdir()
    assert ask("file_read", file_path=f"{srv}/none")["code"] == "not_found"
    assert ask("file_read", file_path=f"{srv}/none/a")["code"] == "not_found"
    assert ask("file_read", file_path=f"{srv}/folder")["code"] == "not_a_regular_file"
    assert ask("file_read", file_path=f"{srv}")["code"] == "not_a_regular_file"
    (srv / "a").touch()
    assert ask("file_read", file_path=f"{srv}/a/b")["code"] == "not_found"


def test_file_read_checks_its_parameters_on_the_host(ask: Ask, srv: Path) -> None:
    for wrong in (
        {},
        {"file_path": 1},
        {"file_path": f"{srv}/a", "max_bytes": 1024 * 1024 + 1},
        {"file_path": f"{srv}/a", "max_bytes": True},
        {"file_path": f"{srv}/a", "offset": -1},
        {"file_path": f"{srv}/a", "encoding": "latin-1"},
        {"file_path": f"{srv}/a", "follow": True},
    ):
        assert ask("file_read", **wrong)["code"] == "invalid_parameter"


def test_no_descriptor_is_left_open(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("x")
    ask("file_read", file_path=f"{srv}/a")
    before = len(names(Path("/proc/self/fd")))
    for name in ("a", "none", "none/a"):
        ask("file_read", file_path=f"{srv}/{name}")
    assert len(names(Path("/proc/self/fd"))) == before
