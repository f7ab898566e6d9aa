"""The folder of forwarded sockets goes with its process, at the latest when another agent starts."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from writ_agent_ssh.socket_folder import LOCK, PREFIX, SocketFolder

HOLDS = """
import sys
from writ_agent_ssh.socket_folder import SocketFolder
print(SocketFolder().path, flush=True)
sys.stdin.read()
"""


def holder() -> tuple[subprocess.Popen[str], Path]:
    """Start a process with a folder of its own; return both."""
    environ = {**os.environ, "TMPDIR": tempfile.gettempdir()}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_leftover_of_a_killed_agent_is_removed_and_that_of_a_live_one_kept(temporary: Path) -> None:
    (live, kept), (killed, left) = holder(), holder()
    try:
        (left / "1").write_text("a socket")
        killed.kill()
        killed.communicate()
        assert left.exists()
        own = SocketFolder()
        assert {*temporary.iterdir()} == {kept, own.path}
        own.remove()
        assert {*temporary.iterdir()} == {kept}
    finally:
        live.kill()
        live.communicate()


def test_folders_without_a_lock_and_links_are_kept(temporary: Path) -> None:
    older, linked, target = temporary / f"{PREFIX}older", temporary / f"{PREFIX}link", temporary / "target"
    older.mkdir()
    target.mkdir()
    (target / LOCK).touch()
    linked.symlink_to(target)
    SocketFolder().remove()
    assert {*temporary.iterdir()} == {older, linked, target}
    assert (target / LOCK).exists()
