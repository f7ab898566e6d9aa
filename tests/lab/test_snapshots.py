"""Snapshots on a real btrfs and a real zfs: outputs agree with the disk afterwards."""

import secrets
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.hostops.conftest import named
from tests.hostops.old_python import ask_old, carried
from tests.lab.volumes import Volume, btrfs, zfs
from tests.lab.volumes import volume as volume

import writ_hostops

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

Result = dict[str, Any]
Ask = Callable[..., Result]


def asking(root: Path) -> Ask:
    """Carries out requests in process, with this root declared; ids are its own, others may run the same tests."""
    own = secrets.token_hex(4)

    def ask(
        operation: str, action: str = "run", *, op: str = named(1), request: Any = None, **parameters: Any
    ) -> Result:
        message = {
            "id": f"{op}-{own}",
            "action": action,
            "operation": operation,
            "parameters": parameters,
            "target": {"file_roots": [str(root)]},
            **(request or {}),
        }
        return writ_hostops.run(message)

    return ask


@pytest.fixture
def ask(volume: Volume) -> Ask:
    """Return the client of hostops, with files in the folder."""
    (volume.folder / "a").write_text("before")
    return asking(volume.root)


def test_a_restore_brings_back_what_was_there_and_nothing_that_came_since(volume: Volume, ask: Ask) -> None:
    path = str(volume.folder)
    made = ask("snapshot_create", snapshot_name="one", target_path=path, description="before -o the change")
    assert (made["outcome"], made["effect"], made["code"]) == ("succeeded", "done", "")
    (volume.folder / "a").write_text("after")
    (volume.folder / "new").write_text("new")
    restored = ask("snapshot_restore", snapshot_name="one", target_path=path)
    assert (restored["outcome"], restored["effect"], restored["output"]["log"]) == ("succeeded", "done", "")
    assert (volume.folder / "a").read_text() == "before"
    assert not (volume.folder / "new").exists()
    (volume.folder / "a").write_text("it can be written to again")
    assert {path.name for path in volume.root.iterdir()} <= {"data", "plain", ".writ-snapshots"}
    (entry,) = ask("snapshot_list", target_path=path)["output"]["snapshots"]
    assert (entry["snapshot_name"], entry["description"]) == ("one", "before -o the change")


def test_a_name_that_is_taken_is_refused_and_one_that_is_not_there_not_found(volume: Volume, ask: Ask) -> None:
    path = str(volume.folder)
    ask("snapshot_create", snapshot_name="one", target_path=path)
    for action in ("run", "preview"):
        again = ask("snapshot_create", action, snapshot_name="one", target_path=path, op=named(2))
        assert (again["outcome"], again["code"], again["effect"]) == ("failed", "exists", "none")
        for operation in ("snapshot_restore", "snapshot_delete"):
            assert ask(operation, action, snapshot_name="on", target_path=path)["code"] == "not_found"


def test_a_deleted_snapshot_is_gone_and_the_others_are_not(volume: Volume, ask: Ask) -> None:
    path = str(volume.folder)
    for number, name in enumerate(("one", "two")):
        ask("snapshot_create", snapshot_name=name, target_path=path, op=named(number))
    assert ask("list_snapshots", "listing")["output"]["names"] == ["one", "two"]
    deleted = ask("snapshot_delete", snapshot_name="one", target_path=path)
    assert (deleted["outcome"], deleted["effect"], deleted["output"]["removed"]) == ("succeeded", "done", True)
    assert ask("list_snapshots", "listing")["output"]["names"] == ["two"]
    assert ask("snapshot_delete", "probe", snapshot_name="one", target_path=path)["output"]["verdict"] == "succeeded"
    assert ask("snapshot_delete", "probe", snapshot_name="two", target_path=path)["output"]["verdict"] == "not_done"


def test_a_probe_knows_its_own_snapshot_from_anothers(volume: Volume, ask: Ask) -> None:
    def verdict(op: str) -> object:
        given = {"snapshot_name": "one", "target_path": str(volume.folder)}
        return ask("snapshot_create", "probe", op=op, **given)["output"]["verdict"]

    assert verdict(named(1)) == "not_done"
    ask("snapshot_create", snapshot_name="one", target_path=str(volume.folder))
    assert (verdict(named(1)), verdict(named(2))) == ("succeeded", "not_done")


def test_a_restore_that_was_cut_off_is_known_by_the_subvolume_where_that_changes(volume: Volume, ask: Ask) -> None:
    given = {"snapshot_name": "one", "target_path": str(volume.folder)}

    def verdict(before: dict[str, Any]) -> object:
        return ask("snapshot_restore", "probe", request={"baseline": before}, **given)["output"]["verdict"]

    ask("snapshot_create", **given)
    first = ask("snapshot_restore", "baseline", **given)["output"]
    assert verdict(first) == ("not_done" if volume.kind == "btrfs" else "unknown")
    assert verdict({}) == "unknown"
    ask("snapshot_restore", **given)
    assert verdict(first) == ("succeeded" if volume.kind == "btrfs" else "unknown")
    second = ask("snapshot_restore", "baseline", **given)["output"]
    assert verdict(second) == ("not_done" if volume.kind == "btrfs" else "unknown")  # the earlier one does not count
    ask("snapshot_delete", **given)
    assert verdict(first) == "unknown"


def test_a_preview_says_what_is_lost_and_changes_nothing(volume: Volume, ask: Ask) -> None:
    path = str(volume.folder)
    seen = ask("snapshot_create", "preview", snapshot_name="one", target_path=path)
    assert f"keep {path} as one" in seen["output"]["would"]
    assert not (volume.root / ".writ-snapshots").exists()
    ask("snapshot_create", snapshot_name="one", target_path=path)
    (volume.folder / "a").write_text("after")
    for operation in ("snapshot_restore", "snapshot_delete"):
        seen = ask(operation, "preview", snapshot_name="one", target_path=path)
        assert (seen["outcome"], seen["effect"]) == ("succeeded", "none")
        assert seen["output"]["commands"]
        frees = operation == "snapshot_delete" and volume.kind == "zfs"  # btrfs knows no size of one
        assert (", which frees " in seen["output"]["would"]) is frees
        assert "bytes are free" in seen["output"]["would"]
    assert (volume.folder / "a").read_text() == "after"
    assert ask("list_snapshots", "listing")["output"]["names"] == ["one"]


def test_path_without_snapshots_is_refused(volume: Volume, ask: Ask) -> None:
    (volume.root / "link").symlink_to(volume.folder)
    for path, code in (
        (volume.root, "unsupported"),
        (volume.plain, "unsupported"),
        (volume.folder / "a", "unsupported"),
        (volume.root / "none", "not_found"),
        (volume.root / "link", "outside_roots"),
        (volume.root.parent, "outside_roots"),
    ):
        result = ask("snapshot_create", snapshot_name="one", target_path=str(path))
        assert (result["outcome"], result["code"], result["effect"]) == ("failed", code, "none"), path
    assert ask("snapshot_create", snapshot_name="one", container_name="web")["code"] == "unsupported"


@pytest.mark.parametrize("name", ["-r", "a@b", "a/b", "", "a" * 129, "a\n", "../a", "$(id)", "a b", "ä"])
def test_a_name_of_another_grammar_is_refused(name: str, tmp_path: Path) -> None:
    for operation in ("snapshot_create", "snapshot_restore", "snapshot_delete"):
        result = asking(tmp_path)(operation, snapshot_name=name, target_path=str(tmp_path / "x"))
        assert (result["code"], result["effect"]) == ("invalid_parameter", "none")


def test_a_folder_for_snapshots_that_is_somebody_elses_is_not_used(tmp_path: Path) -> None:
    with btrfs(tmp_path.resolve()) as volume:
        (volume.root / ".writ-snapshots").mkdir(mode=0o777)
        (volume.root / ".writ-snapshots").chmod(0o777)
        result = asking(volume.root)("snapshot_create", snapshot_name="one", target_path=str(volume.folder))
        assert (result["code"], result["effect"]) == ("permission_denied", "none")


def test_a_snapshot_is_read_only_and_an_unfinished_one_is_not_listed(tmp_path: Path) -> None:
    with btrfs(tmp_path.resolve()) as volume:
        ask = asking(volume.root)
        given = {"snapshot_name": "one", "target_path": str(volume.folder)}
        ask("snapshot_create", **given)
        kept = volume.root / ".writ-snapshots" / "data" / "one"
        with pytest.raises(OSError, match="Read-only"):
            (kept / "x").write_text("x")
        subprocess.run(["btrfs", "property", "set", str(kept), "ro", "false"], check=True)
        assert ask("snapshot_list", target_path=str(volume.folder))["output"]["snapshots"] == []
        assert ask("snapshot_create", "probe", **given)["output"]["verdict"] == "unknown"
        assert ask("snapshot_restore", **given)["code"] == "not_found"
        assert ask("snapshot_delete", **given)["effect"] == "done"


def test_a_subvolume_that_holds_others_goes_back_and_what_is_left_is_reported(tmp_path: Path) -> None:
    with btrfs(tmp_path.resolve()) as volume:
        ask = asking(volume.root)
        given = {"snapshot_name": "one", "target_path": str(volume.folder)}
        ask("snapshot_create", **given)
        subprocess.run(["btrfs", "subvolume", "create", f"{volume.folder}/inner"], check=True)
        restored = ask("snapshot_restore", **given)
        assert (restored["outcome"], restored["effect"]) == ("succeeded", "done")
        left = restored["output"]["log"]
        assert "could not be removed" in left
        assert any(path.name in left for path in volume.root.glob(".writ-*.tmp"))


def test_a_snapshot_that_zfs_does_not_let_go_of_is_reported_as_kept(tmp_path: Path) -> None:
    with zfs(tmp_path.resolve()) as volume:
        ask = asking(volume.root)
        given = {"snapshot_name": "one", "target_path": str(volume.folder)}
        (command,) = ask("snapshot_create", "preview", description="it's one", **given)["output"]["commands"]
        subprocess.run(["sh", "-c", command], check=True)
        assert ask("snapshot_create", "probe", **given)["output"]["verdict"] == "succeeded"
        (entry,) = ask("snapshot_list", target_path=str(volume.folder))["output"]["snapshots"]
        assert entry["description"] == "it's one"
        kept = shlex.split(command)[-1]
        subprocess.run(["zfs", "clone", kept, f"{kept.partition('/')[0]}/clone"], check=True)
        deleted = ask("snapshot_delete", **given)
        assert (deleted["outcome"], deleted["code"], deleted["effect"]) == ("failed", "tool_failed", "none")
        assert ask("snapshot_delete", "probe", **given)["output"]["verdict"] == "not_done"


def test_snapshots_are_taken_gone_back_to_and_deleted_by_an_old_python(volume: Volume, tmp_path: Path) -> None:
    folder = carried(tmp_path / "carried")

    def ask(operation: str, action: str = "run") -> Result:
        parameters = {"snapshot_name": "one", "target_path": str(volume.folder)}
        target = {"file_roots": [str(volume.root)]}
        request = {"id": named(1), "action": action, "operation": operation, "parameters": parameters, "target": target}
        return ask_old(request, folder)

    (volume.folder / "a").write_text("before")
    for action in ("preview", "run", "probe"):
        assert ask("snapshot_create", action)["outcome"] == "succeeded"
    (volume.folder / "a").write_text("after")
    assert ask("snapshot_restore")["effect"] == "done"
    assert (volume.folder / "a").read_text() == "before"
    assert ask("snapshot_delete")["effect"] == "done"
    assert ask("snapshot_delete")["code"] == "not_found"


def test_a_mount_point_has_snapshots_and_is_not_gone_back_to(tmp_path: Path) -> None:
    with btrfs(tmp_path) as volume, mounted(volume, volume.root / "mounted") as folder:
        (folder / "a").write_text("before")
        ask, path = asking(volume.root), str(folder)
        word = f"{path} is a mount point"
        seen = ask("snapshot_create", "preview", snapshot_name="one", target_path=path)
        assert word in seen["output"]["would"]
        made = ask("snapshot_create", snapshot_name="one", target_path=path)
        assert (made["outcome"], made["effect"]) == ("succeeded", "done")
        assert word in made["output"]["log"]
        (folder / "a").write_text("after")
        assert (
            ask("snapshot_create", "probe", snapshot_name="one", target_path=path)["output"]["verdict"] == "succeeded"
        )
        assert ask("list_snapshots", "listing")["output"]["names"] == ["one"]
        (kept,) = volume.root.glob(".writ-snapshots/*/one/a")
        assert kept.read_text() == "before"
        for action in ("preview", "run"):
            result = ask("snapshot_restore", action, snapshot_name="one", target_path=path)
            assert (result["outcome"], result["code"], result["effect"]) == ("failed", "unsupported", "none")
            assert word in result["message"]
        assert (folder / "a").read_text() == "after"
        gone = ask("snapshot_delete", snapshot_name="one", target_path=path)
        assert (gone["outcome"], gone["effect"]) == ("succeeded", "done")
        assert ask("snapshot_list", target_path=path)["output"]["snapshots"] == []


def test_a_root_on_another_file_system_has_no_place_for_snapshots_and_gets_none(tmp_path: Path) -> None:
    with btrfs(tmp_path) as volume:
        ask, path = asking(tmp_path), str(volume.folder)
        for operation in ("snapshot_create", "snapshot_list"):
            named = {"snapshot_name": "one"} if operation == "snapshot_create" else {}
            result = ask(operation, target_path=path, **named)
            assert (result["outcome"], result["code"], result["effect"]) == ("failed", "unsupported", "none")
            assert (
                result["message"] == f"{path} is on another file system than {tmp_path}, where its snapshots would be"
            )
        assert not (tmp_path / ".writ-snapshots").exists()


@contextmanager
def mounted(volume: Volume, folder: Path) -> Iterator[Path]:
    """Mount a subvolume of that file system inside another one, as installers lay out `/srv` or `/home`."""
    inner = volume.root / "inner"
    subprocess.run(["btrfs", "-q", "subvolume", "create", str(inner)], check=True)
    folder.mkdir()
    found = subprocess.run(
        ["findmnt", "-no", "SOURCE", str(volume.root)], check=True, capture_output=True, text=True
    ).stdout.strip()
    subprocess.run(["mount", "-o", "subvol=inner", found, str(folder)], check=True)
    yield folder  # the volume's end unmounts it
