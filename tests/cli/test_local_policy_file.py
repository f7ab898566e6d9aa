"""The installation's policy file after a publish, whose result is shown in every case."""

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from writ_cli.context.settings import Settings
from writ_cli.policy import local_file


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return tmp_path / "policy.yaml"


def updated(policy: Path, before: str) -> str:
    home = SimpleNamespace(policy=policy, report_file=policy.parent / "supervisor.json")
    settings = SimpleNamespace(home=home, context=None)
    return local_file.updated(cast(Settings, settings), "new", hashlib.sha256(before.encode()).hexdigest())


def test_file_gets_the_published_text_unless_somebody_has_changed_it(
    policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy.write_text("old")
    assert updated(policy, "old") == f"{policy} has it now, too"
    policy.write_text("mine")
    assert updated(policy, "old") == ""
    assert (policy.read_text(), "changes that are not in force" in capsys.readouterr().err) == ("mine", True)


def test_file_that_cannot_be_read_does_not_hide_the_result(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy.mkdir()  # root reads every file
    assert updated(policy, "old") == ""
    assert f"{policy} is not updated, and does not count: Is a directory" in capsys.readouterr().err
