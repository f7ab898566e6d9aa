"""Snapshots of a host's btrfs, each way: outputs agree with the file system afterwards."""

import pytest
from tests.lab.hosts import VOLUME, Host
from tests.lab.installation import Writ
from tests.lab.targets import ROOT

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


def snapshots(host: Host) -> list[str]:
    """The names of the read-only subvolumes, from btrfs itself."""
    listed = host.run("btrfs", "subvolume", "list", "-r", VOLUME).splitlines()
    return sorted(line.rpartition("/")[2] for line in listed)


def test_a_snapshot_is_taken_gone_back_to_and_deleted(writ: Writ, host: Host, subvolume: str) -> None:
    done = writ.run("snapshot_create", "snapshot_name=one", f"target_path={subvolume}")
    assert done["outcome"] == "succeeded"
    assert snapshots(host) == ["one"]
    host.write(f"{subvolume}/a", "after")
    host.write(f"{subvolume}/new", "new")

    assert writ.run("snapshot_restore", "snapshot_name=one", f"target_path={subvolume}")["outcome"] == "succeeded"
    assert host.run("cat", f"{subvolume}/a") == "before"
    assert host.attempt("test", "-e", f"{subvolume}/new")[0] == 1

    listed = writ.run("snapshot_list", f"target_path={subvolume}")["output"]["snapshots"]
    assert [one["snapshot_name"] for one in listed] == ["one"]
    assert writ.run("snapshot_delete", "snapshot_name=one", f"target_path={subvolume}")["outcome"] == "succeeded"
    assert snapshots(host) == []


def test_a_preview_of_each_changes_nothing(writ: Writ, host: Host, subvolume: str) -> None:
    writ.run("snapshot_create", "snapshot_name=one", f"target_path={subvolume}")
    host.write(f"{subvolume}/a", "after")
    before = host.state()
    for operation, name in (("snapshot_create", "two"), ("snapshot_restore", "one"), ("snapshot_delete", "one")):
        seen = writ.run(operation, f"snapshot_name={name}", f"target_path={subvolume}", "--dry-run")
        assert seen["outcome"] == "previewed"
        assert seen["output"]["would"]
        assert any(name in command for command in seen["output"]["commands"])
    assert host.state() == before
    assert host.run("cat", f"{subvolume}/a") == "after"  # `state` does not go into subvolumes
    assert snapshots(host) == ["one"]


def test_file_system_without_snapshots_is_reported(writ: Writ, host: Host) -> None:
    host.run("mkdir", "-p", f"{ROOT}/plain")
    done = writ.run("snapshot_create", "snapshot_name=one", f"target_path={ROOT}/plain", status=1)
    assert (done["outcome"], done["code"]) == ("failed", "unsupported")
