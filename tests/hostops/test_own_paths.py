"""Files of Writ's own that name nothing, or that the account of a target cannot reach, stop no file operation."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.hostops.conftest import Ask


@contextmanager
def as_somebody() -> Iterator[None]:
    """Give up root within the block, if these tests have it."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("kind", ["loop", "name too long", "not a folder"])
def test_path_of_writs_own_that_names_nothing_stops_no_file_operation(
    ask: Ask, srv: Path, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    own = {"loop": f"{tmp_path}/loop/keys", "name too long": f"{tmp_path}/{'x' * 256}", "not a folder": f"{srv}/a/b"}
    (srv / "a").write_text("x")
    (srv / "b").hardlink_to(srv / "a")
    backup = {"repository": own[kind], "password_file": own[kind]}
    target = {"forbidden_paths": [own[kind]], "backup": backup}
    for operation, more in (("file_read", {}), ("file_write", {"content": "y"}), ("file_delete", {})):
        path = f"{srv}/{'a' if operation == 'file_read' else 'c'}"
        assert ask(operation, target=target, file_path=path, **more)["outcome"] == "succeeded"


def test_file_of_writs_own_in_a_closed_folder_stops_no_file_operation_of_another_user(ask: Ask) -> None:
    """The account of an SSH target, which becomes root for backups alone, cannot look into root's folders."""
    with TemporaryDirectory() as folder:  # pytest's own are closed to other users
        Path(folder).chmod(0o755)
        (Path(folder) / "closed").mkdir(0o000)
        (Path(folder) / "a").write_text("x")
        backup = {"repository": "/srv/backups", "password_file": f"{folder}/closed/password"}
        with as_somebody():
            done = ask("file_read", target={"file_roots": [folder], "backup": backup}, file_path=f"{folder}/a")
    assert done["outcome"] == "succeeded"
