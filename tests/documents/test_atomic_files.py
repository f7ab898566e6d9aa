"""A file is replaced as a whole, or stays unchanged without leftovers."""

import errno
import os
from pathlib import Path

import pytest

from writ_documents.atomic_files import create, save, write_atomically


@pytest.mark.parametrize("call", ["fsync", "fchmod"])
@pytest.mark.parametrize("write", [save, create])
def test_file_that_cannot_be_written_leaves_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, write: object
) -> None:
    path = tmp_path / "policy.yaml"
    if write is save:
        save(path, b"before")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"No space left on device: '.*policy\.yaml"):
        write(path, b"after")  # type: ignore[operator]
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == (
        {"policy.yaml": b"before"} if write is save else {}
    )


def test_a_link_in_place_of_the_draft_is_not_followed(tmp_path: Path) -> None:
    """Its name can be guessed, and in a shared folder anybody may make it."""
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_bytes(b"precious")
    path.with_name(f".file.{os.getpid()}.draft").symlink_to(victim)
    write_atomically(path, b"new")
    assert (victim.read_bytes(), path.read_bytes(), path.is_symlink()) == (b"precious", b"new", False)


def test_a_file_in_place_of_the_draft_gets_nothing_of_the_secret(tmp_path: Path) -> None:
    """Another user could keep it open, and read a private key that is written into it."""
    path = tmp_path / "file"
    draft = path.with_name(f".file.{os.getpid()}.draft")
    draft.write_bytes(b"")
    second = tmp_path / "second name"
    second.hardlink_to(draft)
    write_atomically(path, b"secret")
    assert (second.read_bytes(), path.read_bytes(), draft.exists()) == (b"", b"secret", False)
