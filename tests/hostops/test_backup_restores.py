"""Restores by a real restic over existing files: restored, kept and failed parts."""

import os
import resource
import stat
from pathlib import Path
from typing import Any

import pytest
from tests.hostops.conftest import Result, named, names
from tests.hostops.test_backups import Vault
from tests.hostops.test_backups import vault as vault

from writ_testing.exhaustive import some
from writ_testing.peers.programs import program


def test_a_restore_brings_back_what_was_there(vault: Vault, srv: Path) -> None:
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    (srv / "data" / "a").write_text("changed")
    (srv / "data" / "deep" / "-b").unlink()
    (srv / "data" / "new").write_text("new")
    result = vault.ask("backup_restore", backup_id="one", target_path=f"{srv}/data")
    assert (result["outcome"], result["effect"]) == ("succeeded", "done")
    assert (srv / "data" / "a").read_text() == "a"
    assert (srv / "data" / "deep" / "-b").read_text() == "b"
    assert (srv / "data" / "new").read_text() == "new"


def test_restore_recreates_a_missing_folder(vault: Vault, srv: Path) -> None:
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    (srv / "data").rename(srv / "lost")
    assert vault.ask("backup_restore", backup_id="one", target_path=f"{srv}/data")["outcome"] == "succeeded"
    assert (srv / "data" / "a").read_text() == "a"
    assert (srv / "data").stat().st_mode & 0o777 == 0o751


def test_a_link_in_the_way_is_not_followed_by_a_restore(vault: Vault, srv: Path, outside: Path) -> None:
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    (srv / "data" / "deep" / "-b").unlink()
    (srv / "data" / "deep").rmdir()
    (srv / "data" / "deep").symlink_to(outside.parent)
    vault.ask("backup_restore", backup_id="one", target_path=f"{srv}/data")
    assert [path.name for path in outside.parent.iterdir()] == ["secret"]


def test_file_that_could_not_be_restored_is_reported_as_incomplete(vault: Vault, srv: Path) -> None:
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    (srv / "data" / "deep" / "-b").write_text("changed")
    (srv / "data" / "a").unlink()
    (srv / "data" / "a").mkdir()
    (srv / "data" / "a" / "in the way").touch()
    result = vault.ask("backup_restore", backup_id="one", target_path=f"{srv}/data")
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "incomplete", "done")
    assert "directory not empty" in result["output"]["log"]
    assert (srv / "data" / "deep" / "-b").read_text() == "b"
    assert (srv / "data" / "a" / "in the way").exists()


@pytest.mark.parametrize("how", some(["symbolic", "hard"], "symbolic"))
def test_a_file_elsewhere_is_not_written_through_a_link(vault: Vault, srv: Path, outside: Path, how: str) -> None:
    for backup_id, path in (("folder", srv / "data"), ("file", srv / "data" / "a")):
        vault.ask("backup_create", backup_id=backup_id, target_path=str(path), op=f"op-{backup_id}-{how}")
        (srv / "data" / "a").unlink()
        if how == "hard":
            os.link(outside, srv / "data" / "a")
        else:
            (srv / "data" / "a").symlink_to(outside)
        restored = vault.ask("backup_restore", backup_id=backup_id, target_path=str(path))
        if restored["outcome"] == "succeeded":
            assert (srv / "data" / "a").read_text() == "a"
        assert outside.read_text() == "outside"
        (srv / "data" / "a").unlink()
        (srv / "data" / "a").write_text("a")


def test_one_file_goes_back_under_its_own_name(vault: Vault, srv: Path) -> None:
    vault.ask("backup_create", backup_id="file", target_path=f"{srv}/data/a")
    (srv / "data" / "a").unlink()
    wrong = vault.ask("backup_restore", backup_id="file", target_path=f"{srv}/data/other")
    assert (wrong["code"], wrong["effect"]) == ("invalid_parameter", "none")
    assert vault.ask("backup_restore", backup_id="file", target_path=f"{srv}/data/a", op=named(2))["effect"] == "done"
    assert (srv / "data" / "a").read_text() == "a"


def spoil(data: Path, how: str) -> None:
    """Leave the files of an interrupted restore."""
    if how == "a file is gone":
        (data / "a").unlink()
    elif how == "an empty file is gone":
        (data / "empty").unlink()
    elif how == "a folder is gone":
        (data / "hollow").rmdir()
    elif how == "half a file":
        os.truncate(data / "deep" / "-b", 0)
    elif how == "other content of the same length and time":
        before = (data / "a").stat()
        (data / "a").write_text("x")
        os.utime(data / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        (data / "new").write_text("what came since does not matter")


@pytest.mark.parametrize(
    ("how", "word"),
    some(
        [
            ("nothing", "succeeded"),
            ("a file is gone", "unknown"),
            ("an empty file is gone", "unknown"),
            ("a folder is gone", "unknown"),
            ("half a file", "unknown"),
            ("other content of the same length and time", "unknown"),
        ],
        ("nothing", "succeeded"),
        ("half a file", "unknown"),
    ),
)
def test_a_restore_that_was_cut_off_is_done_if_all_files_are_as_in_the_backup(
    vault: Vault, srv: Path, how: str, word: str
) -> None:
    data = srv / "data"
    (data / "empty").touch()
    (data / "hollow").mkdir()
    (data / "link").symlink_to("a")
    vault.ask("backup_create", backup_id="one", target_path=str(data))
    spoil(data, how)
    before = {path: path.lstat().st_mtime_ns for path in data.rglob("*")}
    result = vault.ask("backup_restore", "probe", backup_id="one", target_path=str(data))
    assert (result["outcome"], result["output"]["verdict"]) == ("succeeded", word), result
    assert {path: path.lstat().st_mtime_ns for path in data.rglob("*")} == before


@pytest.mark.exhaustive
def test_single_file_that_could_not_be_restored_is_reported_as_incomplete(vault: Vault, srv: Path) -> None:
    supplied = {"backup_id": "file", "target_path": f"{srv}/data/a"}
    vault.ask("backup_create", **supplied)
    assert vault.ask("backup_restore", "probe", **supplied)["output"]["verdict"] == "succeeded"
    (srv / "data" / "a").write_text("z")
    assert vault.ask("backup_restore", "probe", **supplied)["output"]["verdict"] == "unknown"


@pytest.mark.exhaustive
def test_probe_of_a_restore_is_unknown_without_folder_or_backup(vault: Vault, srv: Path) -> None:
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    (srv / "data").rename(srv / "lost")
    for backup_id in ("one", "other"):
        result = vault.ask("backup_restore", "probe", backup_id=backup_id, target_path=f"{srv}/data")
        assert (result["outcome"], result["code"], result["effect"]) == ("failed", "not_found", "none")


def restore(vault: Vault, srv: Path, **parameters: Any) -> Result:
    return vault.ask("backup_restore", backup_id="one", target_path=f"{srv}/data", op=named(2), **parameters)


@pytest.mark.parametrize(("special_modes", "mode"), some([(False, 0o755), (True, 0o4755)], (False, 0o755)))
def test_setuid_is_restored_only_if_requested(vault: Vault, srv: Path, special_modes: bool, mode: int) -> None:
    (srv / "data" / "a").chmod(0o4755)
    (srv / "data" / "deep").chmod(0o2750)
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    (srv / "data" / "a").unlink()
    (srv / "data" / "deep").rename(srv / "lost")
    assert restore(vault, srv, special_modes=special_modes)["outcome"] == "succeeded"
    assert stat.S_IMODE((srv / "data" / "a").stat().st_mode) == mode
    assert bool((srv / "data" / "deep").stat().st_mode & stat.S_ISGID) == special_modes
    assert names(srv / "data") == ["a", "deep"]


@pytest.mark.exhaustive
def test_a_folder_that_is_there_keeps_its_mode(vault: Vault, srv: Path) -> None:
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    (srv / "data" / "deep").chmod(0o700)
    (srv / "data" / "deep" / "-b").unlink()
    assert restore(vault, srv)["outcome"] == "succeeded"
    assert stat.S_IMODE((srv / "data" / "deep").stat().st_mode) == 0o700
    assert (srv / "data" / "deep" / "-b").read_text() == "b"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of somebody else")
def test_files_of_others_are_not_restored_if_only_the_owners_were_requested(vault: Vault, srv: Path) -> None:
    os.chown(srv / "data" / "a", 1234, 1234)
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    (srv / "data" / "a").unlink()
    (srv / "data" / "deep" / "-b").unlink()
    result = restore(vault, srv, owners="folder")
    assert (result["code"], result["effect"]) == ("incomplete", "done")
    assert "a: belongs to user 1234" in result["output"]["log"]
    assert not (srv / "data" / "a").exists()
    assert (srv / "data" / "deep" / "-b").read_text() == "b"
    assert restore(vault, srv)["outcome"] == "succeeded"
    assert (srv / "data" / "a").stat().st_uid == 1234


DAMAGED = r"""#!/bin/sh
{restic} "$@" || exit
case "$*" in *\ restore\ *)
    echo '{{"message_type":"error","error":{{"message":"damaged"}},"during":"restore","item":"/a"}}' >&2; exit 1;;
esac
"""


def test_half_a_file_does_not_replace_the_one_that_is_there(
    vault: Vault, srv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    (srv / "data" / "a").write_text("still good")
    (srv / "data" / "deep" / "-b").unlink()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "restic").write_text(DAMAGED.format(restic=program("restic")))
    (tmp_path / "bin" / "restic").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    assert restore(vault, srv)["code"] == "incomplete"
    assert (srv / "data" / "a").read_text() == "still good"
    assert (srv / "data" / "deep" / "-b").read_text() == "b"


def test_restore_that_ends_without_an_effect_leaves_no_new_folder(
    vault: Vault, srv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    (tmp_path / "bin").mkdir()
    failing = f'#!/bin/sh\ncase "$*" in *\\ restore\\ *) exit 1;; esac\nexec {program("restic")} "$@"\n'
    (tmp_path / "bin" / "restic").write_text(failing)
    (tmp_path / "bin" / "restic").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    result = vault.ask("backup_restore", backup_id="one", target_path=f"{srv}/new")
    assert (result["outcome"], result["effect"]) == ("failed", "none")
    assert "new" not in names(srv)


@pytest.mark.exhaustive
def test_a_restore_that_is_ended_before_its_files_are_whole_changes_nothing(
    vault: Vault, srv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    (srv / "data" / "a").write_text("changed")
    (tmp_path / "bin").mkdir()
    slow = f'#!/bin/sh\n{program("restic")} "$@"\ncase "$*" in *\\ restore\\ *) sleep 60;; esac\n'
    (tmp_path / "bin" / "restic").write_text(slow)
    (tmp_path / "bin" / "restic").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    result = restore(vault, srv, timeout=8)
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "timeout", "none")
    assert (srv / "data" / "a").read_text() == "changed"
    assert names(srv / "data") == ["a", "deep"]


@pytest.mark.exhaustive
def test_restore_handles_a_tree_deeper_than_the_descriptor_limit(vault: Vault, srv: Path) -> None:
    deep = srv / "data" / Path(*["d"] * 400)
    deep.mkdir(parents=True)
    (deep / "end").write_text("end")
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    (deep / "end").unlink()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))
    try:
        assert restore(vault, srv)["outcome"] == "succeeded"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (deep / "end").read_text() == "end"
