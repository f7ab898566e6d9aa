"""file_copy and file_delete: both ends beneath the roots, equal digests, and only the named version is deleted."""

import hashlib
import os
import stat
from pathlib import Path

import pytest
from tests.hostops.conftest import Ask, litter, names, write_unseen


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_copy_has_the_digest_and_mode_of_its_source(ask: Ask, srv: Path) -> None:
    (srv / "a").write_bytes(b"abc" * 1_000_000)
    (srv / "a").chmod(0o640)
    (srv / "folder").mkdir()
    result = ask("file_copy", source_path=f"{srv}/a", dest_path=f"{srv}/folder/b")
    assert (result["outcome"], result["effect"]) == ("succeeded", "done")
    assert result["output"]["digest_after"] == sha256(b"abc" * 1_000_000)
    assert (srv / "folder" / "b").read_bytes() == (srv / "a").read_bytes()
    assert stat.S_IMODE((srv / "folder" / "b").stat().st_mode) == 0o640
    assert litter(srv / "folder") == []


def test_holes_stay_holes(ask: Ask, srv: Path) -> None:
    with (srv / "a").open("wb") as file:
        file.truncate(32 << 20)
        file.seek(10 << 20)
        file.write(b"here")
    result = ask("file_copy", source_path=f"{srv}/a", dest_path=f"{srv}/b")
    assert result["output"]["digest_after"] == sha256((srv / "a").read_bytes())
    assert (srv / "b").stat().st_size == 32 << 20
    assert (srv / "b").stat().st_blocks * 512 <= 2 << 20


def test_existing_file_is_replaced_only_with_overwrite(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("new")
    (srv / "b").write_text("old")
    ends = {"source_path": f"{srv}/a", "dest_path": f"{srv}/b"}
    assert ask("file_copy", **ends)["code"] == "exists"
    assert ask("file_copy", "preview", **ends)["code"] == "exists"
    observed = ask("file_copy", "preview", overwrite=True, **ends)["output"]
    assert (observed["would"], observed["digest_before"], observed["digest_after"]) == (
        "replace",
        sha256(b"old"),
        sha256(b"new"),
    )
    assert f" {srv}/b, RENAME_EXCHANGE)" in observed["commands"][1]
    assert (srv / "b").read_text() == "old"
    assert ask("file_copy", overwrite=True, **ends)["output"]["digest_before"] == sha256(b"old")
    again = ask("file_copy", **ends)
    assert (again["outcome"], again["effect"], again["output"]["changed"]) == ("succeeded", "none", False)


def test_a_file_is_not_copied_to_itself(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("x")
    ends = {"source_path": f"{srv}/a", "dest_path": f"{srv}/a"}
    assert ask("file_copy", overwrite=True, **ends)["code"] == "invalid_parameter"


def test_a_copy_that_cannot_fit_is_not_begun(ask: Ask, srv: Path) -> None:
    with (srv / "huge").open("wb") as file:
        file.truncate(1 << 43)
    result = ask("file_copy", source_path=f"{srv}/huge", dest_path=f"{srv}/b")
    assert (result["code"], result["effect"]) == ("no_space", "none")
    assert names(srv) == ["huge"]


def test_a_source_written_to_meanwhile_is_not_passed_off_as_copied(
    ask: Ask, srv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (srv / "a").write_text("one")
    real = os.pread

    def written_meanwhile(fd: int, size: int, offset: int) -> bytes:
        if offset:
            (srv / "a").write_text("three")
        return real(fd, size, offset)

    monkeypatch.setattr(os, "pread", written_meanwhile)
    result = ask("file_copy", source_path=f"{srv}/a", dest_path=f"{srv}/b")
    assert (result["code"], result["effect"]) == ("digest_mismatch", "none")
    assert names(srv) == ["a"]


def test_file_copy_copies_only_the_source_version_of_its_baseline(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("approved")
    ends = {"source_path": f"{srv}/a", "dest_path": f"{srv}/b"}
    baseline = ask("file_copy", "baseline", **ends)["output"]
    assert baseline["source_version"]
    write_unseen(srv / "a", "anything")
    result = ask("file_copy", request={"baseline": baseline}, **ends)
    assert (result["code"], result["effect"]) == ("source_changed", "none")
    assert names(srv) == ["a"]
    (srv / "b").write_text("anything")  # equal already: it is not the approved content either
    assert ask("file_copy", request={"baseline": baseline}, **ends)["code"] == "source_changed"
    again = ask("file_copy", "baseline", **ends)["output"]
    (srv / "b").unlink()
    assert ask("file_copy", request={"baseline": {**again, "exists": False}}, **ends)["outcome"] == "succeeded"
    assert (srv / "b").read_text() == "anything"


@pytest.mark.parametrize(("name", "code"), [("absent", "not_found"), ("folder", "not_a_regular_file")])
def test_a_source_that_cannot_be_copied_has_no_version_and_the_copy_says_why(
    ask: Ask, srv: Path, name: str, code: str
) -> None:
    (srv / "folder").mkdir()
    ends = {"source_path": f"{srv}/{name}", "dest_path": f"{srv}/b"}
    baseline = ask("file_copy", "baseline", **ends)["output"]
    assert baseline["source_version"] == ""
    assert ask("file_copy", request={"baseline": baseline}, **ends)["code"] == code
    (srv / "absent").write_text("it came later")
    later = {"source_path": f"{srv}/absent", "dest_path": f"{srv}/b"}
    assert ask("file_copy", request={"baseline": baseline}, **later)["code"] == "source_changed"


def test_both_ends_must_be_beneath_the_roots(ask: Ask, srv: Path, outside: Path) -> None:
    (srv / "a").write_text("x")
    assert ask("file_copy", source_path=str(outside), dest_path=f"{srv}/b")["code"] == "outside_roots"
    assert ask("file_copy", source_path=f"{srv}/a", dest_path=str(outside), overwrite=True)["code"] == "outside_roots"
    assert outside.read_text() == "outside"


def test_a_probe_of_a_copy_compares_digests(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("x")
    ends = {"source_path": f"{srv}/a", "dest_path": f"{srv}/b"}
    baseline = ask("file_copy", "baseline", **ends)["output"]

    def verdict() -> str:
        return str(ask("file_copy", "probe", request={"baseline": baseline}, **ends)["output"]["verdict"])

    assert verdict() == "not_done"
    ask("file_copy", **ends)
    assert verdict() == "succeeded"
    (srv / "b").write_text("other")
    assert verdict() == "unknown"
    (srv / "a").unlink()
    assert verdict() == "unknown"


def test_a_deleted_file_is_gone_and_its_digest_kept(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("x")
    result = ask("file_delete", file_path=f"{srv}/a", if_digest=sha256(b"x"))
    assert (result["outcome"], result["effect"]) == ("succeeded", "done")
    assert result["output"]["digest_before"] == sha256(b"x")
    assert result["state"]["exists"] is False
    assert names(srv) == []


def test_only_the_meant_file_is_deleted(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("x")
    (srv / "folder").mkdir()
    assert ask("file_delete", file_path=f"{srv}/a", if_digest=sha256(b"y"))["code"] == "digest_mismatch"
    assert ask("file_delete", file_path=f"{srv}/b")["code"] == "not_found"
    assert ask("file_delete", file_path=f"{srv}/folder")["code"] == "not_a_regular_file"
    assert names(srv) == ["a", "folder"]


def test_a_preview_of_a_delete_deletes_nothing(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("x")
    observed = ask("file_delete", "preview", file_path=f"{srv}/a")["output"]
    assert (observed["would"], observed["digest_before"]) == ("delete", sha256(b"x"))
    assert observed["commands"][0].startswith(f"renameat2({srv}/a, {srv}/.writ-")
    assert ask("file_delete", "preview", file_path=f"{srv}/b")["code"] == "not_found"
    assert names(srv) == ["a"]


def test_a_probe_of_a_delete_knows_the_old_file(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("x")
    baseline = ask("file_delete", "baseline", file_path=f"{srv}/a")["output"]

    def verdict() -> str:
        requested = ask("file_delete", "probe", request={"baseline": baseline}, file_path=f"{srv}/a")
        return str(requested["output"]["verdict"])

    assert verdict() == "not_done"
    (srv / "a").unlink()
    assert verdict() == "succeeded"
    (srv / "a").write_text("another")
    assert verdict() == "unknown"
