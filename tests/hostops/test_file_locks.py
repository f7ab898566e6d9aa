"""The owner of a folder may take the lock beside his file. Writes there then fail with this reason."""

import fcntl
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from tests.hostops.conftest import Ask

from writ_hostops.stop import CancelToken

LOCK = f".writ-{sha256(b'x').hexdigest()[:16]}.lock"


def test_write_that_waits_for_a_lock_in_vain_names_it(ask: Ask, srv: Path) -> None:
    with (srv / LOCK).open("w") as held, CancelToken(0.3) as stop:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = ask("file_write", stop=stop, file_path=f"{srv}/x", content="new")
    assert (done["outcome"], done["code"]) == ("failed", "timeout")
    assert f"another process holds {LOCK}; not done within 0.3 s; nothing was changed" in done["message"]
    assert not (srv / "x").exists()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/passwd")])
def test_anything_else_in_the_place_of_a_lock_is_named(ask: Ask, srv: Path, make: Callable[[Path], None]) -> None:
    make(srv / LOCK)
    done = ask("file_write", file_path=f"{srv}/x", content="new")
    assert (done["outcome"], done["code"]) == ("failed", "not_a_regular_file")
    assert LOCK in done["message"]
    assert not (srv / "x").exists()
