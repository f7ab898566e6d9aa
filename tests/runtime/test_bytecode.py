"""Python keeps bytecode only where the disk has room for it."""

import subprocess
import sys

import pytest

from writ_runtime import bytecode

SHOWS = "import sys; print(sys.dont_write_bytecode)"


def shown(environ: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, "-c", SHOWS], env=environ, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(("room", "kept"), [(0, "True"), (1 << 60, "False")])
def test_bytecode_is_kept_with_room_only(room: int, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bytecode, "ROOM", room)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    assert shown(bytecode.environ()) == {"True": "False", "False": "True"}[kept]
    bytecode.keep_only_with_room()
    assert sys.dont_write_bytecode is (kept == "False")


def test_a_process_that_keeps_no_bytecode_starts_others_that_keep_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert shown(bytecode.environ()) == "True"
