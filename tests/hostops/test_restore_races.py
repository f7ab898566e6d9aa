"""A user who owns the folder of a restore by root swaps parts for links meanwhile: no file leaves the folder."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.hostops.conftest import named
from tests.hostops.test_backups import Vault
from tests.hostops.test_backups import vault as vault

from writ_testing.exhaustive import some

NOBODY = 65534
FILES = 1000
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root restores what belongs to others")

RACER = """
import ctypes, os, sys, time
outside, delay, how = sys.argv[1], float(sys.argv[2]), sys.argv[3]
os.setgroups([]); os.setgid(65534); os.setuid(65534)
libc = ctypes.CDLL(None, use_errno=True)
at = os.open(".", os.O_RDONLY)
def exchange(one, other):
    return libc.renameat2(at, one.encode(), at, other.encode(), 2) == 0
def link(name):
    try:
        os.symlink(outside, name)
    except FileExistsError:
        pass
link("trap")
print("ready", flush=True)
if how == "sub":
    while not os.path.isdir("sub"):
        pass
    time.sleep(delay)
    exchange("sub", "trap")
    time.sleep(60)
while True:  # whatever comes, the folder of the restore itself included
    for name in os.listdir("."):
        if name != "trap" and exchange(name, "trap"):
            time.sleep(delay)
            exchange(name, "trap")
"""


@contextmanager
def racer(folder: Path, outside: Path, delay: float, how: str) -> Iterator[None]:
    """A user without rights, at work in his own folder."""
    command = [sys.executable, "-c", RACER, str(outside), str(delay), how]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.kill()


@pytest.fixture
def theirs(srv: Path) -> Path:
    """Return a folder of that user, with a folder of many files."""
    folder = srv / "theirs"
    (folder / "sub").mkdir(parents=True)
    for number in range(FILES):
        (folder / "sub" / f"f{number:04}").write_bytes(bytes([number % 251]) * 2000)
    (folder / "sub" / "secret").write_text("evil::0:0::/:/bin/sh\n")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    return folder


def state_of(folder: Path) -> list[tuple[str, int, int, int, bytes]]:
    """Return everything within reach of a restore there."""
    paths = sorted([folder, *folder.rglob("*")])
    observed = [(path, path.lstat()) for path in paths]
    return [(str(p), s.st_mode, s.st_uid, s.st_gid, p.read_bytes() if p.is_file() else b"") for p, s in observed]


def empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()


@pytest.mark.parametrize(
    ("delay", "how"),
    some([(0.1, "sub"), (0.3, "sub"), (0.0, "everything"), (0.05, "everything")], (0.1, "sub"), (0.0, "everything")),
)
def test_a_folder_exchanged_for_a_link_leads_no_restore_outside(
    vault: Vault, theirs: Path, outside: Path, delay: float, how: str
) -> None:
    vault.ask("backup_create", backup_id="one", target_path=str(theirs))
    (outside.parent / "f0000").write_text("root's")
    before = state_of(outside.parent)
    empty(theirs)
    with racer(theirs, outside.parent, delay, how):
        vault.ask("backup_restore", backup_id="one", target_path=str(theirs), op=named(2))
    assert state_of(outside.parent) == before


def test_mode_of_a_recreated_folder_is_not_set_through_a_link(
    vault: Vault, theirs: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs.chmod(0o4777)
    vault.ask("backup_create", backup_id="one", target_path=str(theirs))
    theirs.rename(theirs.with_name("lost"))
    real, before = os.mkdir, outside.stat().st_mode

    def exchanged(path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        real(path, mode, dir_fd=dir_fd)
        if path == "theirs":
            theirs.rmdir()
            theirs.symlink_to(outside)

    monkeypatch.setattr(os, "mkdir", exchanged)
    result = vault.ask("backup_restore", backup_id="one", target_path=str(theirs), op=named(2))
    assert (result["outcome"], result["effect"]) == ("failed", "none")
    assert outside.stat().st_mode == before
