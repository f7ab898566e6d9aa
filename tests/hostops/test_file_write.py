"""file_write: atomic, only over the named version, and it keeps owner and mode."""

import base64
import hashlib
import os
import resource
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.hostops.conftest import Ask, litter, names, write_unseen

import writ_hostops
from writ_hostops.files import read, replacement


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_new_file_is_created_and_reported(ask: Ask, srv: Path) -> None:
    result = ask("file_write", file_path=f"{srv}/a", content="new")
    assert (result["outcome"], result["effect"], result["certain"]) == ("succeeded", "done", True)
    assert result["output"] == {
        "changed": True,
        "file_path": f"{srv}/a",
        "created": True,
        "digest_before": "",
        "digest_after": sha256(b"new"),
        "size_before": 0,
        "size_after": 3,
        "mode": "0644",
    }
    assert result["state"]["size"] == 3
    assert "digest" not in result["state"]
    assert (srv / "a").read_text() == "new"
    assert stat.S_IMODE((srv / "a").stat().st_mode) == 0o644
    assert litter(srv) == []


def test_base64_brings_any_bytes(ask: Ask, srv: Path) -> None:
    content = base64.b64encode(bytes(range(256))).decode()
    ask("file_write", file_path=f"{srv}/a", content=content, encoding="base64", mode="600")
    assert (srv / "a").read_bytes() == bytes(range(256))
    assert stat.S_IMODE((srv / "a").stat().st_mode) == 0o600


def test_a_replaced_file_keeps_owner_mode_and_attributes(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("old")
    (srv / "a").chmod(0o4750)
    os.setxattr(srv / "a", "user.note", b"kept")
    if os.geteuid() == 0:
        os.chown(srv / "a", 1234, 4321)
    before = (srv / "a").stat()
    (srv / "a").chmod(0o4750)
    result = ask("file_write", file_path=f"{srv}/a", content="new")
    after = (srv / "a").stat()
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert stat.S_IMODE(after.st_mode) == 0o750, "setuid was given to the old content"
    assert os.getxattr(srv / "a", "user.note") == b"kept"
    assert result["output"]["digest_before"] == sha256(b"old")
    assert result["output"]["mode"] == "0750"


def test_the_same_content_again_changes_nothing(ask: Ask, srv: Path) -> None:
    ask("file_write", file_path=f"{srv}/a", content="same")
    inode = (srv / "a").stat().st_ino
    again = ask("file_write", file_path=f"{srv}/a", content="same")
    assert (again["outcome"], again["effect"], again["output"]["changed"]) == ("succeeded", "none", False)
    assert (srv / "a").stat().st_ino == inode
    assert ask("file_write", file_path=f"{srv}/a", content="same", mode="0600")["output"]["changed"] is True


def test_if_digest_guards_the_file(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("old")
    refused = ask("file_write", file_path=f"{srv}/a", content="new", if_digest=sha256(b"other"))
    assert (refused["outcome"], refused["code"], refused["effect"]) == ("failed", "digest_mismatch", "none")
    assert (srv / "a").read_text() == "old"
    assert ask("file_write", file_path=f"{srv}/none", content="x", if_digest=sha256(b""))["code"] == "digest_mismatch"
    assert ask("file_write", file_path=f"{srv}/a", content="new", if_digest=sha256(b"old"))["outcome"] == "succeeded"
    assert litter(srv) == []


def test_preview_of_a_write_shows_the_change_and_changes_nothing(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("old")
    before = names(srv), (srv / "a").stat().st_ctime_ns, srv.stat().st_ctime_ns
    replaced = ask("file_write", "preview", file_path=f"{srv}/a", content="new")["output"]
    assert (replaced["would"], replaced["digest_before"], replaced["digest_after"]) == (
        "replace",
        sha256(b"old"),
        sha256(b"new"),
    )
    first, *then = replaced["commands"]
    assert first.startswith(f"write 3 bytes to {srv}/.writ-")
    assert [call.partition("(")[0] for call in then] == ["renameat2", "unlink"]
    created = ask("file_write", "preview", file_path=f"{srv}/b", content="new")["output"]
    assert (created["would"], created["commands"][1].endswith(f" {srv}/b, RENAME_NOREPLACE)")) == ("create", True)
    same = ask("file_write", "preview", file_path=f"{srv}/a", content="old")["output"]
    assert (same["would"], same["commands"]) == ("nothing", [])
    assert ask("file_write", "preview", file_path=f"{srv}/x/b", content="new")["code"] == "not_found"
    assert (names(srv), (srv / "a").stat().st_ctime_ns, srv.stat().st_ctime_ns) == before


@contextmanager
def as_somebody(folder: Path) -> Iterator[None]:
    """Run the block as a user with read access to the folder, without write access."""
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


def test_a_preview_knows_what_the_system_would_refuse(ask: Ask) -> None:
    with TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        (folder / "a").write_text("old")
        target, file = {"file_roots": [name]}, f"{name}/a"
        with as_somebody(folder):
            for operation, supplied in (
                ("file_write", {"file_path": file, "content": "new"}),
                ("file_copy", {"source_path": file, "dest_path": f"{name}/b"}),
                ("file_delete", {"file_path": file}),
            ):
                for action in ("preview", "run"):
                    result = ask(operation, action, target=target, **supplied)
                    assert (result["code"], result["effect"]) == ("permission_denied", "none"), (operation, action)
        assert names(folder) == ["a"]


def test_a_preview_knows_that_there_is_no_room(ask: Ask, srv: Path) -> None:
    with (srv / "large").open("wb") as file:
        file.truncate(1 << 43)  # a hole: it takes no room itself
    for action in ("preview", "run"):
        result = ask("file_copy", action, source_path=f"{srv}/large", dest_path=f"{srv}/b")
        assert (result["code"], result["effect"]) == ("no_space", "none")
    assert names(srv) == ["large"]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"content": "x" * (1024 * 1024 + 1)}, "too_large"),
        ({"content": "ä" * (512 * 1024 + 1)}, "too_large"),
        ({"content": "planted-secret!", "encoding": "base64"}, "invalid_parameter"),
        ({"content": "planted-secret\ud800"}, "invalid_parameter"),
        ({"content": 5}, "invalid_parameter"),
        ({}, "invalid_parameter"),
        ({"content": "x", "mode": "4755"}, "invalid_parameter"),
        ({"content": "x", "mode": "0644\n"}, "invalid_parameter"),
        ({"content": "x", "mode": "rw"}, "invalid_parameter"),
        ({"content": "x", "if_digest": "00"}, "invalid_parameter"),
        ({"content": "x", "if_digest": "A" * 64}, "invalid_parameter"),
        ({"content": "x", "planted": "planted-secret"}, "invalid_parameter"),
    ],
)
def test_wrong_parameters_are_refused_without_showing_them(
    ask: Ask, srv: Path, wrong: dict[str, str], code: str
) -> None:
    result = ask("file_write", file_path=f"{srv}/a", **wrong)
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", code, "none")
    assert "planted-secret" not in str(result)
    assert not (srv / "a").exists()


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A limit on the size of files, which the kernel enforces in the middle of a write, as a full disk does. It would
    also cut off a .pyc.
    """
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
def test_no_room_leaves_the_old_file_and_no_part_of_the_new(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("old")
    result = ask("file_write", file_path=f"{srv}/a", content="x" * 200_000)
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "no_space", "none")
    assert (srv / "a").read_text() == "old"
    assert litter(srv) == []


def test_a_cancelled_write_leaves_the_old_file_and_is_certain(
    ask: Ask, srv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (srv / "a").write_text("old")
    with writ_hostops.CancelToken(60) as stop:
        real = os.fsync

        def cancelled_meanwhile(fd: int) -> None:
            stop.cancel()
            real(fd)

        monkeypatch.setattr(os, "fsync", cancelled_meanwhile)
        result = ask("file_write", stop=stop, file_path=f"{srv}/a", content="new")
    assert (result["outcome"], result["code"], result["effect"], result["certain"]) == (
        "cancelled",
        "cancelled",
        "none",
        True,
    )
    assert (srv / "a").read_text() == "old"
    assert litter(srv) == []


def test_a_write_whose_time_is_up_fails_and_changes_nothing(ask: Ask, srv: Path) -> None:
    result = ask("file_write", request={"timeout": 1e-9}, file_path=f"{srv}/a", content="new")
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "timeout", "none")
    assert names(srv) == []


def test_write_whose_folder_cannot_be_synced_is_unknown(ask: Ask, srv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def folder_fails(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(5, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", folder_fails)
    result = ask("file_write", file_path=f"{srv}/a", content="new")
    assert (result["outcome"], result["effect"]) == ("unknown", "maybe")


def test_a_default_acl_of_the_folder_does_not_open_the_replaced_file(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("old")
    # version 2, user::rwx, user:1234:rwx, group::r-x, mask::rwx, other::r-x (acl(5), linux/posix_acl_xattr.h)
    entries = [(1, 7, -1), (2, 7, 1234), (4, 5, -1), (16, 7, -1), (32, 5, -1)]
    acl = b"\2\0\0\0" + b"".join(
        tag.to_bytes(2, "little") + perm.to_bytes(2, "little") + who.to_bytes(4, "little", signed=True)
        for tag, perm, who in entries
    )
    os.setxattr(srv, "system.posix_acl_default", acl)
    ask("file_write", file_path=f"{srv}/a", content="new")
    assert "system.posix_acl_access" not in os.listxattr(srv / "a")


def test_a_probe_compares_with_baseline_and_content(ask: Ask, srv: Path) -> None:
    (srv / "a").write_text("old")
    baseline = ask("file_write", "baseline", file_path=f"{srv}/a")["output"]
    assert (baseline["size"], "digest" in baseline) == (3, False)

    def verdict(**parameters: str) -> str:
        requested = ask("file_write", "probe", request={"baseline": baseline}, file_path=f"{srv}/a", **parameters)
        return str(requested["output"]["verdict"])

    assert verdict(content="new") == "not_done"
    assert verdict() == "not_done"
    ask("file_write", file_path=f"{srv}/a", content="new")
    assert verdict(content="new") == "succeeded"
    assert verdict() == "unknown"
    assert verdict(content="newer") == "unknown"
    assert verdict(content="new", mode="0600") == "unknown"


def test_writers_through_writ_take_turns(ask: Ask, srv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one holds the file, the other waits, and gives up at its timeout."""
    (srv / "a").write_text("old")
    inner: list[str] = []
    real = replacement.put

    def meanwhile(*arguments: object) -> os.stat_result:
        if not inner:
            inner.append("")
            inner[0] = ask("file_write", request={"timeout": 0.1}, file_path=f"{srv}/a", content="second")["code"]
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("writ_hostops.files.write.put", meanwhile)
    assert ask("file_write", file_path=f"{srv}/a", content="first")["outcome"] == "succeeded"
    assert inner == ["timeout"]
    assert (srv / "a").read_text() == "first"
    assert litter(srv) == []


def test_version_of_a_file_is_another_though_size_and_modification_time_are_set_back(ask: Ask, srv: Path) -> None:
    written = ask("file_write", file_path=f"{srv}/a", content="old")
    before = ask("file_write", "baseline", file_path=f"{srv}/a")["state"]
    assert written["state"] == before == ask("file_read", file_path=f"{srv}/a")["state"]
    write_unseen(srv / "a", "odd")
    assert ask("file_write", "baseline", file_path=f"{srv}/a")["state"] != before


def test_version_of_a_file_written_while_it_is_read_is_that_of_no_other_read(
    ask: Ask, srv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise its text would pass for the approved one."""
    (srv / "a").write_text("old")
    before, piece = ask("file_read", file_path=f"{srv}/a")["state"], read._piece

    def late(fd: int, offset: int, limit: int, size: int) -> bytearray:
        (srv / "a").write_text("longer")
        return piece(fd, offset, limit, size)

    monkeypatch.setattr(read, "_piece", late)
    while_written = ask("file_read", file_path=f"{srv}/a")
    after = ask("file_write", "baseline", file_path=f"{srv}/a")["state"]
    assert while_written["output"]["content"] == "longer"
    assert while_written["state"]["version"] not in (before["version"], after["version"])
