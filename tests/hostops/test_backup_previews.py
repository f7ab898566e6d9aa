"""Previews of backups: restic's own dry runs, and the exact commands of the operation."""

import json
import re
from pathlib import Path

from tests.hostops.test_backups import Vault
from tests.hostops.test_backups import vault as vault


def test_previews_are_dry_runs_and_change_nothing(vault: Vault, srv: Path) -> None:
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    (srv / "data" / "a").write_text("longer than before")
    before = vault.fingerprint(srv)
    create = vault.ask("backup_create", "preview", backup_id="two", target_path=f"{srv}/data")["output"]
    grows = r"the repository grows by [1-9]\d* bytes before compression"
    assert re.fullmatch(rf"back up {srv}/data: 2 files, \d+ bytes; {grows}", create["would"])
    file = vault.ask("backup_create", "preview", backup_id="two", target_path=f"{srv}/data/a")["output"]
    assert "/data/a: 1 file, 18 bytes; the repository grows by " in file["would"]
    restore = vault.ask("backup_restore", "preview", backup_id="one", target_path=f"{srv}/data")["output"]
    assert restore["would"].startswith("write ")
    gone = vault.ask("backup_restore", "preview", backup_id="one", target_path=f"{srv}/gone")["output"]
    assert "make" in gone["would"]
    delete = vault.ask("backup_delete", "preview", backup_id="one")["output"]
    assert delete["would"] == f"delete one of {srv}/data"
    assert vault.fingerprint(srv) == before
    for output in (create, restore, delete):
        assert output["commands"]
        assert str(vault.repository) not in json.dumps(output)
        assert str(vault.password) not in json.dumps(output)


def test_the_command_that_a_preview_shows_makes_that_very_backup(vault: Vault, srv: Path) -> None:
    (srv / "my data").mkdir()
    (srv / "my data" / "it's").write_text("x")
    for backup_id, path in (("one", f"{srv}/my data"), ("two", f"{srv}/my data/it's")):
        (command,) = vault.ask("backup_create", "preview", backup_id=backup_id, target_path=path)["output"]["commands"]
        assert vault.snapshots_of(backup_id) == []
        vault.shell(command)
        (made,) = vault.snapshots_of(backup_id)
        assert (made["paths"], made["hostname"]) == ([path], "web-1")
        (srv / "my data" / "it's").write_text("changed")
        observed = vault.ask("backup_restore", "preview", backup_id=backup_id, target_path=path)["output"]
        vault.shell(*observed["commands"])
        assert (srv / "my data" / "it's").read_text() == "x"
