"""Another program changes the file in the middle of a write or delete: the change is noticed and kept."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.hostops.conftest import Ask, litter, names, write_unseen

from writ_hostops import syscalls


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def just_before_rename(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call a function between the last check and the rename, the first `times` times."""

    def arrange(what: Callable[[], Any], times: int = 1) -> None:
        real, left = syscalls.renameat2, [times]

        def renameat2(folder: int, old: str, new: str, flags: int) -> None:
            if left[0]:
                left[0] -= 1
                what()
            real(folder, old, new, flags)

        monkeypatch.setattr(syscalls, "renameat2", renameat2)

    return arrange


Arrange = Callable[..., None]


def replace(path: Path, content: str) -> None:
    (path.parent / "theirs").write_text(content)
    (path.parent / "theirs").rename(path)


def test_a_replacement_in_between_is_kept_when_a_digest_was_demanded(
    ask: Ask, srv: Path, just_before_rename: Arrange
) -> None:
    (srv / "a").write_text("old")
    just_before_rename(lambda: replace(srv / "a", "theirs"))
    result = ask("file_write", file_path=f"{srv}/a", content="ours", if_digest=sha256(b"old"))
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "digest_mismatch", "none")
    assert (srv / "a").read_text() == "theirs"
    assert litter(srv) == []


def test_bytes_written_in_place_in_between_are_kept_too(ask: Ask, srv: Path, just_before_rename: Arrange) -> None:
    (srv / "a").write_text("old")
    just_before_rename(lambda: write_unseen(srv / "a", "odd"))
    result = ask("file_write", file_path=f"{srv}/a", content="ours", if_digest=sha256(b"old"))
    assert (result["code"], result["effect"]) == ("digest_mismatch", "none")
    assert (srv / "a").read_text() == "odd"


def test_without_a_demand_the_last_writer_wins(ask: Ask, srv: Path, just_before_rename: Arrange) -> None:
    (srv / "a").write_text("old")
    just_before_rename(lambda: replace(srv / "a", "theirs"))
    result = ask("file_write", file_path=f"{srv}/a", content="ours")
    assert result["outcome"] == "succeeded"
    assert result["output"]["digest_before"] == sha256(b"theirs")
    assert (srv / "a").read_text() == "ours"


def test_a_file_that_appears_in_between_is_not_lost_unseen(ask: Ask, srv: Path, just_before_rename: Arrange) -> None:
    just_before_rename(lambda: (srv / "a").write_text("theirs"))
    result = ask("file_write", file_path=f"{srv}/a", content="ours")
    assert (result["outcome"], result["output"]["created"]) == ("succeeded", False)
    assert result["output"]["digest_before"] == sha256(b"theirs")


def test_a_copy_without_overwrite_does_not_replace_what_appears(
    ask: Ask, srv: Path, just_before_rename: Arrange
) -> None:
    (srv / "a").write_text("ours")
    just_before_rename(lambda: (srv / "b").write_text("theirs"))
    assert ask("file_copy", source_path=f"{srv}/a", dest_path=f"{srv}/b")["code"] == "exists"
    assert (srv / "b").read_text() == "theirs"


def test_file_that_vanishes_during_a_write_is_created_again(ask: Ask, srv: Path, just_before_rename: Arrange) -> None:
    (srv / "a").write_text("old")
    just_before_rename((srv / "a").unlink)
    assert ask("file_write", file_path=f"{srv}/a", content="ours")["output"]["created"] is True


def test_a_link_put_there_in_between_is_put_back(
    ask: Ask, srv: Path, outside: Path, just_before_rename: Arrange
) -> None:
    (srv / "a").write_text("old")

    def link() -> None:
        (srv / "a").unlink()
        (srv / "a").symlink_to(outside)

    just_before_rename(link)
    assert ask("file_write", file_path=f"{srv}/a", content="ours")["code"] == "outside_roots"
    assert (srv / "a").is_symlink()
    assert outside.read_text() == "outside"


def test_a_folder_put_there_in_between_is_put_back(ask: Ask, srv: Path, just_before_rename: Arrange) -> None:
    (srv / "a").write_text("old")

    def folder() -> None:
        (srv / "a").unlink()
        (srv / "a").mkdir()
        (srv / "a" / "b").write_text("b")

    just_before_rename(folder)
    assert ask("file_delete", file_path=f"{srv}/a")["code"] == "not_a_regular_file"
    assert (srv / "a" / "b").read_text() == "b"


def test_a_delete_of_another_file_is_undone(ask: Ask, srv: Path, just_before_rename: Arrange) -> None:
    (srv / "a").write_text("old")
    just_before_rename(lambda: replace(srv / "a", "theirs"))
    result = ask("file_delete", file_path=f"{srv}/a", if_digest=sha256(b"old"))
    assert (result["code"], result["effect"]) == ("digest_mismatch", "none")
    assert (srv / "a").read_text() == "theirs"
    assert litter(srv) == []


def test_write_fails_if_the_file_changes_at_each_attempt(ask: Ask, srv: Path, just_before_rename: Arrange) -> None:
    (srv / "a").write_text("old")
    counter = iter(range(1000))
    just_before_rename(lambda: replace(srv / "a", f"theirs {next(counter)}"), times=1000)
    result = ask("file_write", file_path=f"{srv}/a", content="ours")
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "digest_mismatch", "none")
    assert (srv / "a").read_text().startswith("theirs")
    assert litter(srv) == []


def test_a_third_writers_content_stays_after_the_undo(ask: Ask, srv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (srv / "a").write_text("old")
    real, turns = syscalls.renameat2, iter(["second", "third"])

    def renameat2(folder: int, old: str, new: str, flags: int) -> None:
        content = next(turns, None)
        if content:
            replace(srv / "a", content)
        real(folder, old, new, flags)

    monkeypatch.setattr(syscalls, "renameat2", renameat2)
    result = ask("file_write", file_path=f"{srv}/a", content="ours", if_digest=sha256(b"old"))
    assert result["code"] == "digest_mismatch"
    assert (srv / "a").read_text() == "third"
    assert litter(srv) == []


def test_an_undo_that_fails_is_not_hidden(ask: Ask, srv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (srv / "a").write_text("old")
    real, calls = syscalls.renameat2, []

    def renameat2(folder: int, old: str, new: str, flags: int) -> None:
        calls.append(new)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        replace(srv / "a", "theirs")
        real(folder, old, new, flags)

    monkeypatch.setattr(syscalls, "renameat2", renameat2)
    result = ask("file_write", file_path=f"{srv}/a", content="ours", if_digest=sha256(b"old"))
    assert (result["outcome"], result["effect"]) == ("unknown", "maybe")


@pytest.mark.parametrize("number", [22, 38])
def test_file_systems_without_exchange_are_written_to_all_the_same(
    ask: Ask, srv: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def renameat2(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(syscalls, "renameat2", renameat2)
    assert ask("file_write", file_path=f"{srv}/a", content="one")["output"]["created"] is True
    assert ask("file_write", file_path=f"{srv}/a", content="two")["output"]["created"] is False
    assert (srv / "a").read_text() == "two"
    assert ask("file_delete", file_path=f"{srv}/a")["outcome"] == "succeeded"
    assert names(srv) == []
