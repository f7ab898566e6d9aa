"""Reads after a snapshot was made or deleted, with a change in between; real file systems are in the lab."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.hostops.conftest import Ask

from writ_hostops.errors import HostError
from writ_hostops.files import open_beneath
from writ_hostops.protocol import OperationCall
from writ_hostops.snapshots import btrfs, calls, operations
from writ_hostops.snapshots.store import Snapshot


class Blinded:
    """A store that cannot be read any more after a change."""

    def __init__(self, there: list[Snapshot]) -> None:
        self.there = there
        self.changed = False

    def all(self) -> list[Snapshot]:
        if self.changed:
            raise HostError("permission_denied", "the folder of the snapshots cannot be read (EACCES)")
        return self.there

    def create(self, name: str, description: str, operation_id: str) -> None:
        self.changed = True

    def delete(self, snapshot: Snapshot) -> None:
        self.changed = True


@pytest.mark.parametrize(("operation", "there"), [("snapshot_create", []), ("snapshot_delete", [Snapshot("s1", 1.0)])])
def test_a_change_whose_end_cannot_be_seen_is_unknown_and_no_failure_without_effect(
    ask: Ask, srv: Path, monkeypatch: pytest.MonkeyPatch, operation: str, there: list[Snapshot]
) -> None:
    @contextmanager
    def blinded(call: OperationCall, path: str) -> Iterator[Blinded]:
        yield Blinded(there)

    monkeypatch.setattr(operations, "_store", blinded)
    result = ask(operation, target_path=f"{srv}/sub", snapshot_name="s1")
    assert (result["outcome"], result["effect"], result["code"]) == ("unknown", "maybe", "permission_denied")


def test_a_snapshot_that_is_deleted_while_others_are_listed_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("writ_hostops.snapshots.btrfs.os.listdir", lambda folder: ["gone"])
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        assert btrfs._read(folder, "/srv") == []
    finally:
        os.close(folder)


def test_snapshots_of_a_folder_with_files_of_writ_are_listed_and_deleted_but_not_made(
    ask: Ask, srv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (srv / "etc" / "writ").mkdir(parents=True)
    monkeypatch.setattr(open_beneath, "INSTALLED", (f"{srv}/etc/writ",))
    monkeypatch.setattr(calls, "is_subvolume", lambda folder: True)
    monkeypatch.setattr(btrfs, "_on_the_file_system_of", lambda root, subvolume: True)
    path = f"{srv}/etc"
    assert ask("snapshot_list", target_path=path)["output"]["snapshots"] == []
    for action in ("run", "preview", "probe"):
        made = ask("snapshot_create", action, target_path=path, snapshot_name="s1")
        assert made["code"] == "outside_roots", action
    assert ask("snapshot_restore", target_path=path, snapshot_name="s1")["code"] == "outside_roots"
    assert ask("snapshot_delete", target_path=path, snapshot_name="s1")["code"] == "not_found"
    assert ask("snapshot_delete", "preview", target_path=path, snapshot_name="s1")["code"] == "not_found"
