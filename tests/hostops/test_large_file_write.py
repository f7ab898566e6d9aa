"""file_write over a large old file: it is digested beside the work, and before it is replaced."""

import _thread
import errno
import hashlib
import os
import threading
from pathlib import Path

import pytest
from tests.hostops.conftest import Ask, litter

from writ_hostops.files import replacement
from writ_hostops.files.write import DIGESTED_FIRST
from writ_hostops.stop import CancelToken


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def large(last: str, size: int = 2 * DIGESTED_FIRST) -> str:
    return "x" * (size - 1) + last


@pytest.mark.parametrize("old", [large("a"), large("b", 3 * DIGESTED_FIRST), "short"])
def test_a_large_file_that_is_replaced_is_reported_by_its_digest(ask: Ask, srv: Path, old: str) -> None:
    (srv / "a").write_text(old)
    result = ask("file_write", file_path=f"{srv}/a", content=large("c"))
    assert (result["outcome"], result["output"]["changed"]) == ("succeeded", True)
    assert result["output"]["digest_before"] == sha256(old.encode())
    assert result["output"]["digest_after"] == sha256(large("c").encode())
    assert (srv / "a").read_text() == large("c")


def test_a_large_file_that_has_the_content_already_is_left_alone(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text(large("a"))
    inode = (srv / "a").stat().st_ino
    again = ask("file_write", file_path=f"{srv}/a", content=large("a"))
    assert (again["outcome"], again["effect"], again["output"]["changed"]) == ("succeeded", "none", False)
    assert again["output"]["digest_before"] == again["output"]["digest_after"] == sha256(large("a").encode())
    assert (srv / "a").stat().st_ino == inode
    mode = ask("file_write", file_path=f"{srv}/a", content=large("a"), mode="0600")
    assert (mode["output"]["changed"], mode["output"]["digest_before"]) == (True, sha256(large("a").encode()))


def test_a_large_file_is_digested_while_its_successor_is_written_and_before_it_is_replaced(
    ask: Ask, srv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (srv / "a").write_text(large("a"))
    real, synced, present = os.fsync, threading.Event(), []

    def digested_late(fd: int, stop: CancelToken | None) -> str:
        assert synced.wait(10), "the new content is written meanwhile"
        present.append((srv / "a").read_text())
        return sha256(present[0].encode())

    def noted(fd: int) -> None:
        real(fd)
        synced.set()

    monkeypatch.setattr(replacement, "sha256_of", digested_late)
    monkeypatch.setattr(os, "fsync", noted)
    result = ask("file_write", file_path=f"{srv}/a", content=large("b"))
    assert (result["outcome"], result["output"]["digest_before"]) == ("succeeded", sha256(large("a").encode()))
    assert present == [large("a")]


def test_a_large_file_that_cannot_be_read_to_its_end_is_not_replaced(
    ask: Ask, srv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (srv / "a").write_text(large("a"))

    def broken(fd: int, stop: CancelToken | None) -> str:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(replacement, "sha256_of", broken)
    result = ask("file_write", file_path=f"{srv}/a", content=large("b"))
    assert (result["outcome"], result["effect"]) == ("failed", "none")
    assert (srv / "a").read_text() == large("a")
    assert litter(srv) == []


def test_large_file_is_replaced_on_a_host_that_permits_no_further_thread(
    ask: Ask, srv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (srv / "a").write_text(large("a"))

    def refused(call: object, arguments: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refused)
    result = ask("file_write", file_path=f"{srv}/a", content=large("b"))
    assert (result["outcome"], result["output"]["digest_before"]) == ("succeeded", sha256(large("a").encode()))
    assert (srv / "a").read_text() == large("b")
