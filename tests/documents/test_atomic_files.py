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
    with pytest.raises(OSError, match=r"symbolic links|Too many levels"):
        write_atomically(path, b"new")
    assert victim.read_bytes() == b"precious"
