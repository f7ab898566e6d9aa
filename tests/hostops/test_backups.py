"""Backups by a real restic in its own repository: outputs agree with repository and disk."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.hostops.conftest import Ask, Result, named

from writ_hostops import commands
from writ_hostops.backups import restic
from writ_hostops.protocol import OperationCall
from writ_testing.exhaustive import some
from writ_testing.peers.programs import program
from writ_testing.peers.restic_repository import create_repository, write_lock

PASSWORD = "correct horse"


class Vault:
    """A repository, and a client of hostops for it."""

    def __init__(self, folder: Path, srv: Path, ask: Ask) -> None:
        self.repository = folder / "repo"
        self.password = folder / "password"
        self.password.write_text(PASSWORD)
        self.target = {
            "file_roots": [str(srv)],
            "backup": {"repository": str(self.repository), "password_file": str(self.password), "host": "web-1"},
        }
        self._ask = ask
        self.master = create_repository(self.repository, PASSWORD)

    def restic(self, *words: str) -> str:
        """restic itself, past hostops."""
        environment = {**os.environ, "RESTIC_REPOSITORY": str(self.repository), "RESTIC_PASSWORD": PASSWORD}
        done = subprocess.run(
            [program("restic"), "--no-cache", *words], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def snapshots(self) -> list[dict[str, Any]]:
        """Return all snapshots in it."""
        found: list[dict[str, Any]] = json.loads(self.restic("snapshots", "--json"))
        return found

    def snapshots_of(self, backup_id: str) -> list[dict[str, Any]]:
        """Return the snapshots with this id."""
        return [one for one in self.snapshots() if f"writ-id={backup_id}" in one["tags"]]

    def shell(self, command: str) -> None:
        """Run the command as a user would type it."""
        environment = {**os.environ, "RESTIC_REPOSITORY": str(self.repository), "RESTIC_PASSWORD": PASSWORD}
        subprocess.run(["sh", "-c", command], env=environment, capture_output=True, check=True)

    def ask(self, operation: str, action: str = "run", *, op: str = named(1), **parameters: Any) -> Result:
        return self._ask(operation, action, target=self.target, request={"id": op}, **parameters)

    def fingerprint(self, *more: Path) -> str:
        """Return a digest of every file of the repository, and of these folders."""
        digest = hashlib.sha256()
        for path in sorted(path for folder in (self.repository, *more) for path in folder.rglob("*")):
            digest.update(f"{path} {path.lstat().st_mode}\n".encode())
            if path.is_file():
                digest.update(path.read_bytes())
        return digest.hexdigest()


@pytest.fixture
def vault(tmp_path: Path, srv: Path, ask: Ask) -> Vault:
    """Return a vault with files to back up in `srv/data`."""
    (srv / "data" / "deep").mkdir(parents=True)
    (srv / "data" / "a").write_text("a")
    (srv / "data" / "deep" / "-b").write_text("b")
    (srv / "data").chmod(0o751)
    (tmp_path / "vault").mkdir()
    return Vault(tmp_path / "vault", srv, ask)


def test_a_backup_is_in_the_repository_under_its_id(vault: Vault, srv: Path) -> None:
    result = vault.ask("backup_create", backup_id="nightly-1", target_path=f"{srv}/data")
    assert (result["outcome"], result["effect"], result["code"]) == ("succeeded", "done", "")
    (kept,) = vault.snapshots()
    assert result["output"]["reference"] == kept["id"]
    assert (result["output"]["files"], result["output"]["size"]) == (2, 2)
    assert (kept["hostname"], kept["paths"]) == ("web-1", [f"{srv}/data"])
    assert {"writ", "writ-id=nightly-1"} <= set(kept["tags"])
    assert not any(named(1) in tag for tag in kept["tags"]), (
        "a tag is an argument, which everybody on the host can read"
    )
    assert "/deep/-b" in vault.restic("ls", kept["id"])


def test_an_id_that_is_taken_is_refused(vault: Vault, srv: Path) -> None:
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    again = vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data", op=named(2))
    assert (again["outcome"], again["code"], again["effect"]) == ("failed", "exists", "none")
    assert len(vault.snapshots()) == 1
    assert vault.ask("backup_create", "preview", backup_id="one", target_path=f"{srv}/data")["code"] == "exists"


UNREADABLE = """#!/bin/sh
{restic} "$@"
case "$*" in *\\ backup\\ *) echo 'locked: permission denied' >&2; exit 3;; esac
"""


def test_unreadable_files_are_reported(
    vault: Vault, srv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "restic").write_text(UNREADABLE.format(restic=shutil.which("restic")))
    (tmp_path / "bin" / "restic").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    result = vault.ask("backup_create", backup_id="torn", target_path=f"{srv}/data")
    assert (result["outcome"], result["code"], result["effect"]) == ("failed", "incomplete", "done")
    assert "locked" in result["output"]["log"]


def test_backup_is_not_found_by_a_prefix_of_its_id(vault: Vault, srv: Path) -> None:
    vault.ask("backup_create", backup_id="nightly-1", target_path=f"{srv}/data")
    reference = vault.snapshots()[0]["id"]
    for wrong in ("nightly", "nightly-", "nightly-11", reference, reference[:8], "latest", "NIGHTLY-1"):
        for operation, more in (("backup_restore", {"target_path": f"{srv}/data"}), ("backup_delete", {})):
            assert vault.ask(operation, backup_id=wrong, **more)["code"] == "not_found"
    assert len(vault.snapshots()) == 1


@pytest.mark.exhaustive
def test_a_deleted_backup_is_gone_and_the_others_are_not(vault: Vault, srv: Path) -> None:
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    vault.ask("backup_create", backup_id="two", target_path=f"{srv}/data", op=named(2))
    result = vault.ask("backup_delete", backup_id="one", op=named(3))
    assert (result["outcome"], result["effect"], result["output"]["removed"]) == ("succeeded", "done", True)
    (kept,) = vault.snapshots()
    assert "writ-id=two" in kept["tags"]
    assert vault.ask("backup_delete", backup_id="one")["code"] == "not_found"
    assert vault.ask("backup_delete", "probe", backup_id="one")["output"]["verdict"] == "succeeded"
    assert vault.ask("backup_delete", "probe", backup_id="two")["output"]["verdict"] == "not_done"


def test_a_probe_knows_its_own_backup_from_anothers(vault: Vault, srv: Path) -> None:
    def verdict(op: str) -> object:
        supplied = {"backup_id": "one", "target_path": f"{srv}/data"}
        return vault.ask("backup_create", "probe", op=op, **supplied)["output"]["verdict"]

    assert verdict(named(1)) == "not_done"
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    assert (verdict(named(1)), verdict(named(2))) == ("succeeded", "not_done")


def test_only_writs_own_backups_of_this_host_are_listed(vault: Vault, srv: Path) -> None:
    vault.restic("backup", "--host=web-1", "--quiet", str(srv))
    vault.restic("backup", "--host=web-2", "--tag=writ", "--tag=writ-id=theirs", "--quiet", str(srv))
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    vault.ask("backup_create", backup_id="two", target_path=f"{srv}/data/a", op=named(2))
    listed = vault.ask("backup_list")["output"]
    assert [one["backup_id"] for one in listed["backups"]] == ["two", "one"]
    assert listed["backups"][0]["created_at"] > 1e9
    of_one = vault.ask("backup_list", target_path=f"{srv}/data")["output"]
    assert [one["backup_id"] for one in of_one["backups"]] == ["one"]
    assert vault.ask("backup_list", limit=1)["output"]["truncated"]
    assert vault.ask("list_backups", "listing")["output"]["names"] == ["one", "two"]
    assert vault.ask("backup_delete", backup_id="theirs")["code"] == "not_found"


def test_absent_backup_and_absent_path_are_distinguished(vault: Vault, srv: Path, ask: Ask) -> None:
    supplied = {"backup_id": "one", "target_path": f"{srv}/data"}
    assert ask("backup_create", **supplied)["code"] == "not_declared"
    assert vault.ask("backup_create", backup_id="one", container_name="web")["code"] == "unsupported"
    assert vault.ask("backup_create", backup_id="one", target_path=f"{srv}/none")["code"] == "not_found"
    vault.password.write_text("wrong")
    assert vault.ask("backup_create", **supplied)["code"] == "permission_denied"
    assert vault.ask("list_backups", "listing")["outcome"] == "failed"
    vault.password.unlink()
    assert vault.ask("backup_create", **supplied)["code"] == "unavailable"
    vault.password.write_text(PASSWORD)
    vault.repository.rename(vault.repository.with_name("elsewhere"))
    assert vault.ask("backup_list")["code"] == "unavailable"


@pytest.mark.exhaustive
def test_paths_are_held_to_the_roots(vault: Vault, srv: Path, outside: Path) -> None:
    (srv / "link").symlink_to(outside.parent)
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    for path in (str(outside.parent), f"{srv}/link", f"{srv}/../outside", "/etc"):
        for operation, backup_id in (("backup_create", "two"), ("backup_restore", "one")):
            result = vault.ask(operation, backup_id=backup_id, target_path=path)
            assert (result["outcome"], result["code"], result["effect"]) == ("failed", "outside_roots", "none"), path


def test_the_repository_and_its_password_are_nobodys_files(vault: Vault, srv: Path, tmp_path: Path) -> None:
    vault.target = {**vault.target, "file_roots": [str(tmp_path)]}
    assert vault.ask("file_read", file_path=str(vault.password))["code"] == "outside_roots"
    written = vault.ask("file_write", file_path=f"{vault.repository}/config", content="x")
    assert written["code"] == "outside_roots"
    whole = vault.ask("backup_create", backup_id="one", target_path=str(tmp_path))
    assert (whole["code"], whole["effect"]) == ("outside_roots", "none")


@pytest.mark.exhaustive
def test_a_lock_of_the_dead_is_removed(vault: Vault, srv: Path) -> None:
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    environment = {**os.environ, "RESTIC_REPOSITORY": str(vault.repository), "RESTIC_PASSWORD": PASSWORD}
    command = ["restic", "--no-cache", "--quiet", "backup", "--stdin"]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as other:
        pause = threading.Event()
        while not any((vault.repository / "locks").iterdir()):
            pause.wait(0.05)
        other.kill()
    assert any((vault.repository / "locks").iterdir())
    assert vault.ask("backup_delete", backup_id="one", op=named(2))["outcome"] == "succeeded"


GONE = 2**31 - 1
"""Above the highest process id of Linux."""


def test_own_lock_of_the_dead_is_removed_after_an_operation_without_time_for_it(vault: Vault, srv: Path) -> None:
    lock = write_lock(vault.repository, vault.master, hostname=os.uname().nodename, uid=os.getuid(), pid=GONE)
    parameters = {"backup_id": "one", "target_path": f"{srv}/data"}
    short = vault._ask("backup_create", target=vault.target, request={"id": named(1), "timeout": 0.1}, **parameters)
    assert (short["outcome"], short["effect"], lock.exists()) == ("failed", "none", True)
    assert vault.ask("backup_create", op=named(2), **parameters)["outcome"] == "succeeded"
    assert list((vault.repository / "locks").iterdir()) == []


def test_a_lock_of_another_user_whose_process_cannot_be_seen_is_kept(
    vault: Vault, srv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as of a prune in another PID namespace, whose lock `restic unlock` would remove."""
    monkeypatch.setattr(commands, "BUSY_PATIENCE", 0.0)
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    lock = write_lock(vault.repository, vault.master, hostname=os.uname().nodename, uid=os.getuid() + 1, pid=GONE)
    own = write_lock(vault.repository, vault.master, hostname=os.uname().nodename, uid=os.getuid(), pid=GONE)
    refused = vault.ask("backup_delete", backup_id="one", op=named(2))
    assert (refused["code"], refused["effect"]) == ("busy", "none")
    assert refused["message"].endswith("If no restic is at work there, remove it: restic unlock")
    assert (lock.exists(), own.exists()) == (True, True)
    lock.unlink()
    assert vault.ask("backup_delete", backup_id="one", op=named(3))["outcome"] == "succeeded"
    assert not own.exists()


def test_lock_is_not_reported_as_held_while_restic_tries_to_take_it(
    vault: Vault, srv: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have the lock then, and run for long without a word."""
    vault.ask("backup_create", backup_id="one", target_path=f"{srv}/data")
    lock = write_lock(vault.repository, vault.master, hostname="elsewhere", uid=0, pid=GONE)
    said: list[str] = []
    real = restic.Restic.__init__

    def says(word: str) -> None:
        said.append(word)
        lock.unlink(missing_ok=True)

    def listening(made: restic.Restic, call: OperationCall) -> None:
        real(made, replace(call, progress=says))

    monkeypatch.setattr(restic.Restic, "__init__", listening)
    assert vault.ask("backup_delete", backup_id="one", op=named(2))["outcome"] == "succeeded"
    assert said[:3] == [
        "waits for the lock of the backup repository, which another program holds",
        "tries again to lock the backup repository",
        "the lock of the backup repository is free",
    ]


KILLING = """#!/bin/sh
case "$*" in *\\ backup\\ *) ;; *) exec {restic} "$@";; esac
[ {when} = before ] && kill -9 $PPID && exit 1
{restic} "$@"
kill -9 $PPID
"""


@pytest.mark.parametrize("when", some(["before", "after"], "before"))
def test_killed_backup_is_made_at_most_once_and_a_probe_knows(
    vault: Vault, srv: Path, tmp_path: Path, when: str
) -> None:
    """hostops dies with the backup made, or not yet made; the next probe reports that it was begun."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "restic").write_text(KILLING.format(restic=shutil.which("restic"), when=when))
    (tmp_path / "bin" / "restic").chmod(0o755)
    vault.target = {**vault.target, "state_dir": str(tmp_path / "state")}
    supplied = {"backup_id": "one", "target_path": f"{srv}/data"}
    request = {
        "id": named(1),
        "action": "run",
        "operation": "backup_create",
        "parameters": supplied,
        "target": vault.target,
    }
    done = subprocess.run(
        [sys.executable, "-m", "writ_hostops"],
        input=json.dumps(request).encode() + b"\n",
        env={**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -9
    assert len(vault.snapshots()) == (1 if when == "after" else 0)
    probed = vault.ask("backup_create", "probe", **supplied)["output"]["verdict"]
    assert probed == ("succeeded" if when == "after" else "not_done")
    again = vault.ask("backup_create", **supplied)
    assert (again["outcome"], again["code"]) == ("unknown", "already_seen")
    assert len(vault.snapshots()) == (1 if when == "after" else 0)
