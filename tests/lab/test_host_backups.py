"""Backups of a real host into a restic repository, each way: outputs agree with both afterwards."""

from collections.abc import Iterator

import pytest
from tests.lab.hosts import Host
from tests.lab.installation import Writ
from tests.lab.vault import PASSWORD, Vault

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

PATH = "/srv/data/site"


@pytest.fixture(autouse=True)
def site(host: Host, backups: Vault) -> Iterator[None]:
    """A folder to back up, and an empty repository."""
    host.run("rm", "-rf", PATH)
    host.write(f"{PATH}/index.html", "before")
    host.write(f"{PATH}/deep/-odd name", "odd", "0600")
    yield
    backups.restic("forget", "--unsafe-allow-remove-all", "--tag", "writ")


def test_backup_is_in_the_repository_and_is_restored(writ: Writ, host: Host, backups: Vault) -> None:
    done = writ.run("backup_create", "backup_id=site-1", f"target_path={PATH}")
    assert (done["outcome"], done["output"]["files"]) == ("succeeded", 2)
    assert backups.ids() == ["site-1"]
    assert "/deep/-odd name" in backups.restic("ls", done["output"]["reference"])

    host.write(f"{PATH}/index.html", "after")
    host.run("rm", "-r", f"{PATH}/deep")
    assert writ.run("backup_restore", "backup_id=site-1", f"target_path={PATH}")["outcome"] == "succeeded"
    assert host.run("cat", f"{PATH}/index.html") == "before"
    assert host.run("stat", "--format=%a %s", f"{PATH}/deep/-odd name") == "600 3"


def test_a_preview_of_each_changes_neither_host_nor_repository(writ: Writ, host: Host, backups: Vault) -> None:
    writ.run("backup_create", "backup_id=site-1", f"target_path={PATH}")
    host.write(f"{PATH}/index.html", "after")
    before = host.state()  # the repository is a folder of it
    for operation, *parameters in (
        ("backup_create", "backup_id=site-2", f"target_path={PATH}"),
        ("backup_restore", "backup_id=site-1", f"target_path={PATH}"),
        ("backup_delete", "backup_id=site-1"),
    ):
        seen = writ.run(operation, *parameters, "--dry-run")
        assert seen["outcome"] == "previewed"
        assert seen["output"]["would"]
        assert PASSWORD not in str(seen)
    assert host.state() == before


def test_a_deleted_backup_is_gone_and_the_others_are_listed(writ: Writ, backups: Vault) -> None:
    for number in ("1", "2"):
        writ.run("backup_create", f"backup_id=site-{number}", f"target_path={PATH}")
    assert writ.run("backup_delete", "backup_id=site-1")["outcome"] == "succeeded"
    assert backups.ids() == ["site-2"]
    listed = writ.run("backup_list")["output"]["backups"]
    assert [(one["backup_id"], one["target_path"]) for one in listed] == [("site-2", PATH)]


def test_missing_backup_is_not_found(writ: Writ) -> None:
    for operation, *parameters in (
        ("backup_restore", "backup_id=site", f"target_path={PATH}"),
        ("backup_delete", "backup_id=site"),
    ):
        assert writ.run(operation, *parameters, status=1)["code"] == "not_found"
