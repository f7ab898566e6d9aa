"""hostops' survey of a host: versions as programs print them, and operations that lack a requirement."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import pytest

from writ_hostops import commands, survey
from writ_hostops.operations import HANDLERS, run
from writ_testing.peers.programs import program


def look(**target: Any) -> dict[str, Any]:
    reported = run({"id": "s1", "action": "survey", "operation": "host", "parameters": {}, "target": target})
    assert reported["outcome"] == "succeeded", reported
    return dict(reported["output"])


def test_versions_are_those_of_the_programs_that_are_here() -> None:
    versions = look()["versions"]
    assert versions["python"] == platform.python_version()
    assert versions["kernel"] == os.uname().release
    named = Path("/etc/os-release").read_text()
    assert versions["os"]
    assert versions["os"] in named
    reply = subprocess.run([program("apt-get"), "--version"], capture_output=True, text=True, check=True).stdout
    assert f"apt {versions['apt']} " in reply


def test_missing_program_has_no_version_and_is_listed_as_lacking(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(commands, "_PATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(survey, "_SYSTEMD", str(tmp_path / "no-systemd"))
    observed = look(backup={"repository": "/srv/repo", "password_file": "/srv/password"})
    assert observed["versions"].keys() == {"os", "kernel", "python"}
    assert observed["lacking"]["package_*"] == "apt-get is not installed"
    assert observed["lacking"]["backup_*"] == "restic is not installed"
    assert observed["lacking"]["service_*"] == "systemd does not run this host"


def test_undeclared_requirement_is_listed_as_lacking(tmp_path: Path) -> None:
    bare = look()["lacking"]
    assert {"backup_*", "network_scan", "file_*", "snapshot_*"} <= bare.keys()
    there = look(
        file_roots=[str(tmp_path)],
        scan_networks=["127.0.0.0/8"],
        backup={"repository": "/srv/repo", "password_file": "/srv/password"},
    )["lacking"]
    assert not {"network_scan", "file_*"} & there.keys()
    assert "no backup repository" not in there.get("backup_*", "")


def test_file_roots_that_are_not_there_are_named(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    assert look(file_roots=[gone])["lacking"]["file_*"] == f"none of the file roots is there: {gone}"
    assert "file_*" not in look(file_roots=[gone, str(tmp_path)])["lacking"]


def test_snapshots_need_a_file_system_that_has_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = os.path.realpath(tmp_path)
    for mounts, there in (
        ([("/", "btrfs")], True),
        ([("/", "ext4"), (root, "btrfs")], True),
        ([("/", "ext4"), (f"{root}/data", "zfs")], True),
        ([("/", "ext4"), (f"{root}/data", "btrfs")], False),  # the root has no place for them
    ):
        monkeypatch.setattr(survey, "_mounts", lambda mounts=mounts: iter(mounts))
        assert ("snapshot_*" not in look(file_roots=[root])["lacking"]) is there
    monkeypatch.setattr(survey, "_mounts", lambda: iter([("/", "ext4"), (f"{root}-data", "btrfs")]))
    assert "snapshot_*" in look(file_roots=[root])["lacking"]
    monkeypatch.setattr(survey, "_mounts", lambda: iter([("/", "ext4"), (str(Path(root).parent), "zfs")]))
    assert "snapshot_*" not in look(file_roots=[root])["lacking"]


def test_mounts_are_read_as_the_kernel_has_them() -> None:
    kinds = dict(survey._mounts())
    assert "/proc" in kinds
    assert kinds["/proc"] == "proc"


def test_survey_takes_no_parameters() -> None:
    reported = run({"id": "s1", "action": "survey", "operation": "host", "parameters": {"x": 1}, "target": {}})
    assert (reported["outcome"], reported["code"]) == ("failed", "invalid_parameter")


NEEDED: dict[str, dict[str, Any]] = {
    "service_status": {"service_name": "nginx"},
    "service_start": {"service_name": "nginx"},
    "service_stop": {"service_name": "nginx"},
    "service_restart": {"service_name": "nginx"},
    "package_list": {},
    "package_install": {"package_name": "nginx"},
    "package_remove": {"package_name": "nginx"},
    "package_update": {},
    "backup_create": {"backup_id": "b", "target_path": "/srv/a"},
    "backup_list": {},
    "backup_restore": {"backup_id": "b", "target_path": "/srv/a"},
    "backup_delete": {"backup_id": "b"},
}


@pytest.mark.parametrize("action", ["run", "preview"])
def test_what_cannot_succeed_is_named_with_the_code_and_message_of_a_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, action: str
) -> None:
    target = {"backup": {"repository": "/srv/repo", "password_file": "/nonexistent/password"}}
    for path in (str(tmp_path), ""):  # without any program, and with those of this machine
        if path:
            monkeypatch.setattr(commands, "_PATH", path)
            monkeypatch.setenv("PATH", path)
        else:
            monkeypatch.undo()
        fails = look(**target)["fails"]
        assert {name for name in NEEDED if name.startswith("backup_")} <= fails.keys() <= NEEDED.keys()
        assert not path or {"package_list", "package_install", "package_update"} <= fails.keys()
        for name, failing in fails.items():
            if action == "preview" and "preview" not in HANDLERS[name]:
                continue
            request = {"id": "s1", "action": action, "operation": name, "parameters": NEEDED[name], "target": target}
            done = run({**request, "timeout": 10})
            assert [done["code"], done["message"]] == failing, name
