"""Any string parameter arrives as one value or is refused; no part of it becomes a command.

Each operation gets each string, in each of its string parameters. Stand-ins replace the host's programs and record
their arguments; a stand-in of the shell would show that it ran.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Struct
from tests.hostops.conftest import Ask
from tests.hostops.fake_systemd import FakeSystemd

from writ_contracts.catalogue import BUILT_IN
from writ_contracts.operations import Catalogue
from writ_hostops import HANDLERS
from writ_hostops.packages import apt, dpkg
from writ_testing.exhaustive import some
from writ_testing.peers.restic_repository import create_repository

CATALOGUE = Catalogue(BUILT_IN)
CANARY = "writ-canary"

CORPUS = {
    "semicolon": f"x; touch {CANARY}",
    "and": f"x && touch {CANARY}",
    "pipe": f"x | tee {CANARY}",
    "backquote": f"`touch {CANARY}`",
    "substitution": f"$(touch {CANARY})",
    "variable": "${IFS}x$HOME",
    "redirect": f"x > {CANARY}",
    "single quote": f"x' ; touch {CANARY} ; '",
    "double quote": f'x" ; touch {CANARY} ; "',
    "backslash": "x\\",
    "newline": f"x\ntouch {CANARY}",
    "trailing newline": "x\n",
    "carriage return": f"x\rtouch {CANARY}",
    "nul": f"x\0touch {CANARY}",
    "glob": "*",
    "brace": "{a,b}",
    "tilde": "~root",
    "leading dash": "-rf",
    "long option": "--help",
    "option with value": f"--option=Dpkg::Pre-Invoke::=touch {CANARY}",
    "apt option": "-oDPkg::Pre-Invoke::=x",
    "restic password": f"--password-command=touch {CANARY}",
    "at file": "@/etc/passwd",
    "unicode": "ünï-ço∂é\u202e",
    "full width": "；touch",
    "surrogate": "x\ud800",
    "escape": "\x1b[2J",
    "empty": "",
    "space": " ",
    "long": "a" * 65536,
    "long path": "/" + "a/" * 32768,
    "format": "%s%n{0}",
}
STAND_IN = """#!/bin/sh
printf '%s\\0' "$#" "$0" "$@" >> '{record}'/$$
"""
"""Programs of the host run a thousand times here: a shell starts ten times faster than Python does."""
PROGRAMS = ("apt-get", "dpkg-query", "restic", "zfs", "btrfs", "systemctl", "sh", "bash", "touch", "tee")


def samples(srv: Path) -> dict[str, dict[str, Any]]:
    """Return realistic parameters of each operation."""
    folder, file = f"{srv}/data", f"{srv}/a"
    return {
        **{f"service_{verb}": {"service_name": "nginx"} for verb in ("status", "start", "stop", "restart")},
        "file_read": {"file_path": file, "encoding": "utf-8"},
        "file_write": {"file_path": file, "content": "x", "encoding": "utf-8", "mode": "0644", "if_digest": "0" * 64},
        "file_copy": {"source_path": file, "dest_path": f"{srv}/b"},
        "file_delete": {"file_path": file, "if_digest": "0" * 64},
        "network_status": {},
        "network_test": {"host": "127.0.0.1", "port": 1, "protocol": "tcp", "count": 1},
        "network_scan": {"cidr": "127.0.0.1/32", "ports": [1]},
        "package_list": {"pattern": "a*"},
        "package_update": {"package_name": "hello", "version": "1.0", "index": "keep"},
        "package_install": {"package_name": "hello", "version": "1.0"},
        "package_remove": {"package_name": "hello"},
        "backup_create": {
            "backup_id": "one",
            "target_path": folder,
            "container_name": "",
            "backup_type": "full",
            "quiesce": "none",
        },
        "backup_list": {"target_path": folder, "container_name": ""},
        "backup_restore": {"backup_id": "one", "target_path": folder, "container_name": "", "owners": "any"},
        "backup_delete": {"backup_id": "one", "container_name": ""},
        "snapshot_create": {"snapshot_name": "one", "target_path": folder, "container_name": "", "description": "x"},
        "snapshot_list": {"target_path": folder, "container_name": ""},
        "snapshot_restore": {"snapshot_name": "one", "target_path": folder, "container_name": ""},
        "snapshot_delete": {"snapshot_name": "one", "target_path": folder, "container_name": ""},
    }


def stand_ins(folder: Path, names: tuple[str, ...], record: Path) -> None:
    """Create programs of these names, which record their arguments in a new folder, one file for each process."""
    record.mkdir()
    for name in names:
        (folder / name).write_text(STAND_IN.format(record=record))
        (folder / name).chmod(0o755)


def recorded(record: Path) -> Iterator[list[str]]:
    """Yield the argument vectors of all started stand-ins."""
    for file in record.iterdir():
        words = file.read_bytes().split(b"\0")[:-1]
        while words:
            end = int(words[0]) + 2
            yield [os.fsdecode(word) for word in words[1:end]]
            del words[:end]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[list[str]]]:
    """Return the argument vectors of all started programs."""
    folder, record = tmp_path / "bin", tmp_path / "record"
    folder.mkdir()
    stand_ins(folder, PROGRAMS, record)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(apt, "OPTIONS", ())
    monkeypatch.setattr(dpkg, "OPTIONS", ())
    return lambda: list(recorded(record))


def test_every_string_of_every_operation_is_tried(srv: Path) -> None:
    tried = samples(srv)
    assert set(tried) == set(HANDLERS)
    for operation, supplied in tried.items():
        texts = {name for name, value in supplied.items() if isinstance(value, str)}
        assert texts == strings(CATALOGUE[operation].parameters), operation


def strings(parameters: type[Struct]) -> set[str]:
    """Return the text parameters by their schema."""
    schema = msgspec.json.schema(parameters)["$defs"][parameters.__name__]["properties"]
    return {name for name, field in schema.items() if any(_is_text(part) for part in field.get("anyOf", [field]))}


def _is_text(schema: dict[str, Any]) -> bool:
    return schema.get("type") == "string" or any(isinstance(one, str) for one in schema.get("enum", ()))


@pytest.mark.parametrize("kind", sorted(CORPUS))
def test_no_string_becomes_a_command(
    ask: Ask,
    srv: Path,
    tmp_path: Path,
    systemd: FakeSystemd,
    programs: Callable[[], list[list[str]]],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    systemd.add("nginx.service")
    (srv / "data").mkdir()
    (srv / "a").write_text("a")
    password = tmp_path / "password"
    password.write_text("x")
    target = {
        "file_roots": [str(srv)],
        "scan_networks": ["127.0.0.0/8"],
        "backup": {"repository": str(tmp_path / "repo"), "password_file": str(password)},
    }
    text = CORPUS[kind]
    for operation, supplied in samples(srv).items():
        for name in [name for name, value in supplied.items() if isinstance(value, str)]:
            for action in HANDLERS[operation]:
                result = ask(operation, action, target=target, **{**supplied, name: text})
                assert result["outcome"] in ("succeeded", "failed"), (operation, name, result)
                assert len(result["message"]) <= 500
    commands = programs()
    assert commands
    for command in commands:
        check_vector(command, text)
    assert not list(tmp_path.rglob(CANARY))
    assert {path.name for path in srv.iterdir()} <= {"data", "a", "b"}


def check_vector(command: list[str], text: str) -> None:
    """Assert that it is a program of hostops, and the string appears only as a whole argument value."""
    program = Path(command[0]).name
    assert program in ("apt-get", "dpkg-query", "restic", "zfs")
    assert not any("\0" in word or "\n" in word for word in command)
    for word in command[1:]:
        assert CANARY not in word, command
        if text and len(text) > 1:
            assert word != text or not text.startswith("-"), command


@pytest.mark.parametrize("kind", sorted(CORPUS))
def test_file_content_arrives_unchanged_or_is_refused(ask: Ask, srv: Path, kind: str) -> None:
    text = CORPUS[kind]
    result = ask("file_write", file_path=f"{srv}/new", content=text)
    if kind == "surrogate":
        assert (result["code"], (srv / "new").exists()) == ("invalid_parameter", False)
    else:
        assert (srv / "new").read_bytes() == text.encode()


@pytest.mark.parametrize("kind", sorted(CORPUS))
def test_a_name_of_a_file_arrives_as_it_is_or_is_refused(ask: Ask, srv: Path, kind: str) -> None:
    path = f"{srv}/{CORPUS[kind]}"
    result = ask("file_write", file_path=path, content="x")
    if result["outcome"] == "succeeded":
        assert [str(found) for found in srv.iterdir()] == [path]
    else:
        assert result["code"] in ("invalid_parameter", "not_found", "not_a_regular_file", "outside_roots")
        assert list(srv.iterdir()) == []


@pytest.mark.parametrize(
    "kind",
    some(["semicolon", "single quote", "substitution", "leading dash", "unicode", "glob", "space"], "leading dash"),
)
def test_a_name_with_anything_in_it_is_backed_up_as_that_name(ask: Ask, srv: Path, tmp_path: Path, kind: str) -> None:
    """Through a real restic, any name is one argument."""
    name = CORPUS[kind]
    (srv / name).write_text("x")
    (tmp_path / "password").write_text("x")
    backup = {"repository": str(tmp_path / "repo"), "password_file": str(tmp_path / "password")}
    create_repository(tmp_path / "repo", "x")
    target = {"file_roots": [str(srv)], "backup": backup}
    made = ask("backup_create", target=target, backup_id="one", target_path=f"{srv}/{name}")
    assert (made["outcome"], made["output"]["files"]) == ("succeeded", 1)
    (srv / name).unlink()
    assert ask("backup_restore", target=target, backup_id="one", target_path=f"{srv}/{name}")["effect"] == "done"
    assert [path.name for path in srv.iterdir()] == [name]
