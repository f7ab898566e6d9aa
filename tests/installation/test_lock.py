"""The lock of `writ up`, in another user's folder with hostile links."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from writ_contracts.errors import Conflict
from writ_installation.files.lock import held, holder, turn


def hold(path: Path) -> None:
    with held(path):
        pass


def take_turn(path: Path) -> None:
    async def once() -> None:
        async with turn(path):
            pass

    asyncio.run(once())


@pytest.mark.parametrize("act", [hold, take_turn, holder])
def test_lock_that_is_a_link_is_refused(tmp_path: Path, act: Callable[[Path], object]) -> None:
    victim = tmp_path / "shadow"
    victim.write_text("root:x")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/lock").symlink_to(victim)
    with pytest.raises(Conflict, match="symbolic link"):
        act(tmp_path / "run/lock")
    assert victim.read_text() == "root:x"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("act", [hold, take_turn, holder])
def test_lock_in_a_folder_that_another_user_linked_is_refused(tmp_path: Path, act: Callable[[Path], object]) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/lock").write_text("x")
    (tmp_path / "writ").mkdir()
    (tmp_path / "writ/run").symlink_to(tmp_path / "elsewhere")
    os.chown(tmp_path / "writ", 65534, 65534)
    with pytest.raises(Conflict, match="symbolic link"):
        act(tmp_path / "writ/run/lock")
    assert (tmp_path / "elsewhere/lock").read_text() == "x"


def test_own_link_to_a_folder_of_locks_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with held(tmp_path / "run/lock"):
        assert holder(tmp_path / "run/lock") == os.getpid()
    assert holder(tmp_path / "run/lock") is None
